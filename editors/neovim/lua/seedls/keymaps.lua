-- Keys of insert mode. Each does its work while a suggestion is visible, and otherwise what the key did before:
-- the user's own mapping, else the plain key.

local M = {}

--- What a key does without us, as an expression mapping would return it.
---@param before table a dictionary of maparg(), empty when the key was not mapped
---@param key string
---@return string keys
local function without_us(before, key)
  if vim.tbl_isempty(before) then
    return vim.keycode(key)
  end
  local result
  if before.expr == 1 then
    result = before.callback and before.callback() or vim.api.nvim_eval(before.rhs)
    result = type(result) == 'string' and result or ''
  elseif before.callback then
    vim.schedule(before.callback)
    return ''
  else
    result = before.rhs or ''
  end
  local is_plain = before.expr == 1 and before.replace_keycodes ~= 1
  return is_plain and result or vim.api.nvim_replace_termcodes(result, true, true, true)
end

--- Keys that call a function of the plugin: an expression mapping may not change the text itself.
---@param action string a call on require('seedls')
---@return string
function M.calling(action)
  return vim.keycode(("<Cmd>lua require('seedls').%s<CR>"):format(action))
end

---@param key string|false
---@param description string
---@param keys_for fun(): string? what the key types now; nil when there is no suggestion for it
function M.map(key, description, keys_for)
  if not key then
    return
  end
  local before = vim.fn.maparg(key, 'i', false, true)
  if before.desc == description then
    return -- set up twice
  end
  vim.keymap.set('i', key, function()
    return keys_for() or without_us(before, key)
  end, { expr = true, replace_keycodes = false, desc = description, silent = true })
end

return M
