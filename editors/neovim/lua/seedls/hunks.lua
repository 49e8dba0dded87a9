-- From an LSP edit of one buffer to changed blocks of whole lines. Owns the shapes; draws and applies nothing.

local M = {}

---@class seedls.Hunk
---@field row integer 0-based line where it starts
---@field old string[] lines that go
---@field new string[] lines that come

--- The blocks in which two lists of lines differ, top to bottom.
---@param before string[]
---@param after string[]
---@return seedls.Hunk[]
function M.between(before, after)
  local function text(lines)
    return #lines == 0 and '' or table.concat(lines, '\n') .. '\n'
  end
  local blocks = vim.diff(text(before), text(after), { result_type = 'indices', algorithm = 'histogram' })
  local hunks = {}
  ---@cast blocks integer[][]
  for _, block in ipairs(blocks) do
    local old_first, old_count, new_first, new_count = unpack(block)
    table.insert(hunks, {
      -- With nothing to remove, `old_first` is the line before the place of insertion.
      row = old_count == 0 and old_first or old_first - 1,
      old = vim.list_slice(before, old_first, old_first + old_count - 1),
      new = vim.list_slice(after, new_first, new_first + new_count - 1),
    })
  end
  return hunks
end

--- The text edits of a WorkspaceEdit, if they are all for one open file and nothing else is asked for.
---@param edit lsp.WorkspaceEdit
---@return string? uri, lsp.TextEdit[]? edits, integer? version
function M.single_file(edit)
  local found = {} ---@type { uri: string, edits: lsp.TextEdit[], version: integer? }[]
  if edit.documentChanges then
    for _, change in ipairs(edit.documentChanges) do
      if change.kind then
        return nil -- creates, renames or deletes a file
      end
      table.insert(found, {
        uri = change.textDocument.uri,
        edits = change.edits,
        version = type(change.textDocument.version) == 'number' and change.textDocument.version or nil,
      })
    end
  else
    for uri, edits in pairs(edit.changes or {}) do
      table.insert(found, { uri = uri, edits = edits })
    end
  end
  if #found ~= 1 then
    return nil
  end
  return found[1].uri, found[1].edits, found[1].version
end

--- The lines of a buffer after text edits that are valid on it now.
---@param buffer integer
---@param edits lsp.TextEdit[]
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return string[]
function M.lines_after(buffer, edits, encoding)
  local scratch = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(scratch, 0, -1, true, vim.api.nvim_buf_get_lines(buffer, 0, -1, true))
  -- As in the buffer itself: a final line break is no line of its own.
  for _, option in ipairs({ 'fileformat', 'endofline', 'fixendofline' }) do
    vim.bo[scratch][option] = vim.bo[buffer][option]
  end
  local plain = vim.tbl_map(function(edit)
    return { range = edit.range, newText = edit.newText } -- annotations are for those who confirm by them
  end, edits)
  vim.lsp.util.apply_text_edits(plain, scratch, encoding)
  local lines = vim.api.nvim_buf_get_lines(scratch, 0, -1, true)
  vim.api.nvim_buf_delete(scratch, { force = true })
  return lines
end

return M
