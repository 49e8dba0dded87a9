-- Ghost text for a Neovim that has none (0.11): asks for a suggestion after a pause in typing, draws it behind the
-- cursor, follows what is typed into it, and takes all, a word or a line of it. Owns the one suggestion that is shown.

local protocol = require('seedls.protocol')
local suggestion = require('seedls.suggestion')

local M = {}

local INVOKED, AUTOMATIC = 1, 2
local METHOD = 'textDocument/inlineCompletion'
local namespace = vim.api.nvim_create_namespace('seedls.ghost')

---@class seedls.GhostItem
---@field text string
---@field command lsp.Command?

---@class seedls.Ghost What is shown: texts that replace what stands between `row`, `column` and the cursor.
---@field buffer integer
---@field client_id integer
---@field row integer 0-based
---@field column integer 0-based, in bytes
---@field replaced string what stands behind the cursor and would be replaced
---@field after string the rest of the line behind the cursor
---@field items seedls.GhostItem[]
---@field index integer

---@class seedls.Asked The request whose answer is awaited.
---@field client vim.lsp.Client
---@field id integer
---@field kind integer
---@field buffer integer
---@field tick integer
---@field place integer[] of the cursor

local shown = nil ---@type seedls.Ghost?
local asked = nil ---@type seedls.Asked?
local pause = assert(vim.uv.new_timer())
local debounce_ms = 60

---@return integer row, integer column both 0-based, column in bytes
local function cursor()
  local place = vim.api.nvim_win_get_cursor(0)
  return place[1] - 1, place[2]
end

local function is_inserting()
  return vim.api.nvim_get_mode().mode:sub(1, 1) == 'i'
end

---@param buffer integer
local function erase(buffer)
  if vim.api.nvim_buf_is_valid(buffer) then
    vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
  end
end

--- Stop waiting for an answer: nobody wants it any more.
local function forget_request()
  pause:stop()
  if asked then
    asked.client:cancel_request(asked.id)
    asked = nil
  end
end

--- Take away what is shown and what was asked.
function M.clear()
  forget_request()
  erase(vim.api.nvim_get_current_buf())
  if shown then
    erase(shown.buffer)
    shown = nil
  end
end

--- What is still to insert of the current item; nil when the text is no longer the one it was made for.
---@return string?
local function rest_of_shown()
  if not shown or shown.buffer ~= vim.api.nvim_get_current_buf() then
    return nil
  end
  local row, column = cursor()
  if row < shown.row or (row == shown.row and column < shown.column) then
    return nil
  end
  local line = vim.api.nvim_get_current_line()
  if line:sub(column + 1) ~= shown.replaced .. shown.after then
    return nil
  end
  local typed = vim.api.nvim_buf_get_text(shown.buffer, shown.row, shown.column, row, column, {})
  return suggestion.rest(shown.items[shown.index].text, table.concat(typed, '\n'))
end

---@return boolean
function M.is_visible()
  local rest = rest_of_shown()
  return rest ~= nil and rest ~= '' and is_inserting()
end

--- Draw what is left of the current item; false when nothing is.
---@return boolean
local function draw()
  local rest = rest_of_shown()
  if not shown or not rest or rest == '' then
    M.clear()
    return false
  end
  erase(shown.buffer)
  if vim.fn.pumvisible() == 1 then
    return true -- kept, but not over the menu
  end
  if shown.replaced ~= '' and vim.endswith(rest, shown.replaced) then
    rest = rest:sub(1, -#shown.replaced - 1)
  end
  local lines = vim.split(rest, '\n', { plain = true })
  local below = {}
  for number = 2, #lines do
    below[number - 1] = { { lines[number]:gsub('\t', (' '):rep(vim.bo.tabstop)), 'SeedlsGhost' } }
  end
  local row, column = cursor()
  vim.api.nvim_buf_set_extmark(shown.buffer, namespace, row, column, {
    virt_text = { { lines[1], 'SeedlsGhost' } },
    virt_text_pos = 'inline',
    virt_lines = #below > 0 and below or nil,
    hl_mode = 'combine',
  })
  return true
end

---@param item table an InlineCompletionItem
---@return string
local function text_of(item)
  local text = type(item.insertText) == 'table' and item.insertText.value or item.insertText
  return suggestion.with_plain_line_ends(text)
end

--- Keep the server's items if the cursor is still where the request was made.
---@param client vim.lsp.Client
---@param buffer integer
---@param tick integer
---@param result any
local function take_answer(client, buffer, tick, result)
  local items = type(result) == 'table' and (result.items or result) or {}
  local is_current = buffer == vim.api.nvim_get_current_buf() and tick == vim.api.nvim_buf_get_changedtick(buffer)
  if #items == 0 or not is_current or not is_inserting() then
    return
  end
  local row, column = cursor()
  local line = vim.api.nvim_get_current_line()
  local range = items[1].range
  local first, last = column, column
  if range then
    if range.start.line ~= row or range['end'].line ~= row then
      return
    end
    first = vim.str_byteindex(line, client.offset_encoding, range.start.character, false)
    last = vim.str_byteindex(line, client.offset_encoding, range['end'].character, false)
  end
  if first > column or last < column then
    return
  end
  if shown then
    erase(shown.buffer)
  end
  shown = {
    buffer = buffer,
    client_id = client.id,
    row = row,
    column = first,
    replaced = line:sub(column + 1, last),
    after = line:sub(last + 1),
    items = vim.tbl_map(function(item)
      return { text = text_of(item), command = item.command }
    end, items),
    index = 1,
  }
  draw()
end

--- Ask for a suggestion at the cursor now.
---@param kind integer 1 when a person asked, 2 while typing
---@param on_nothing fun()? called when there is none
local function request(kind, on_nothing)
  local buffer = vim.api.nvim_get_current_buf()
  local client = vim.lsp.get_clients({ name = 'seedls', bufnr = buffer, method = METHOD })[1]
  if not client then
    return
  end
  forget_request()
  local tick = vim.api.nvim_buf_get_changedtick(buffer)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = kind }
  local sent, id
  sent, id = client:request(METHOD, params, function(problem, result)
    if asked and asked.id == id then
      asked = nil
    end
    if not problem then
      take_answer(client, buffer, tick, result)
      if on_nothing and not shown then
        on_nothing()
      end
    end
  end, buffer)
  local place = vim.api.nvim_win_get_cursor(0)
  asked = sent and id and { client = client, id = id, kind = kind, buffer = buffer, tick = tick, place = place } or nil
end

--- Whether a person asked at this very place: Neovim tells of keys only when it has nothing else to do, so of those
--- typed before the question after it.
---@return boolean
local function is_answer_awaited_here()
  local buffer = vim.api.nvim_get_current_buf()
  return asked ~= nil
    and asked.kind == INVOKED
    and asked.buffer == buffer
    and asked.tick == vim.api.nvim_buf_get_changedtick(buffer)
    and vim.deep_equal(asked.place, vim.api.nvim_win_get_cursor(0))
end

--- Something was typed or the cursor moved: follow it, or ask anew after a pause.
local function follow()
  if shown and draw() or is_answer_awaited_here() then
    return
  end
  M.clear()
  if vim.bo.buftype ~= '' then
    return
  end
  pause:start(debounce_ms, 0, vim.schedule_wrap(function()
    if is_inserting() and not shown then
      request(AUTOMATIC)
    end
  end))
end

--- A message in insert mode is soon overwritten, so who asked is told beside the cursor, until the next key.
local function say_nothing_here()
  local row, column = cursor()
  vim.api.nvim_buf_set_extmark(0, namespace, row, column, {
    virt_text = { { '  no suggestion (:Seedls explain says why)', 'SeedlsHint' } },
  })
end

--- Ask as a person does: even where suggestions come only on demand, and with a word when there is none.
function M.trigger()
  M.clear()
  local function ask()
    request(INVOKED, say_nothing_here)
  end
  if is_inserting() then
    ask()
  else
    vim.cmd.startinsert({ bang = #vim.api.nvim_get_current_line() == vim.api.nvim_win_get_cursor(0)[2] + 1 })
    vim.schedule(ask)
  end
end

--- Run the command of a suggestion that was taken: the server counts it.
---@param ghost seedls.Ghost
local function tell_server(ghost)
  local client = vim.lsp.get_client_by_id(ghost.client_id)
  local command = ghost.items[ghost.index].command
  if client and command and command.command == protocol.COMMAND_ACCEPTED then
    client:exec_cmd(command, { bufnr = ghost.buffer })
  end
end

---@param part fun(rest: string): string what to take of the rest
---@return boolean
local function accept(part)
  local rest = rest_of_shown()
  if not shown or not rest or rest == '' then
    return false
  end
  local taken = part(rest)
  local is_whole = taken == rest
  local row, column = cursor()
  local lines = vim.split(taken, '\n', { plain = true })
  -- A step of its own for undo, apart from what was typed before.
  vim.cmd('let &undolevels = &undolevels')
  vim.api.nvim_buf_set_text(shown.buffer, row, column, row, column + (is_whole and #shown.replaced or 0), lines)
  local last = row + #lines - 1
  vim.api.nvim_win_set_cursor(0, { last + 1, (#lines == 1 and column or 0) + #lines[#lines] })
  if is_whole then
    tell_server(shown)
    M.clear()
  else
    draw()
  end
  return true
end

--- Insert the suggestion; false when none is visible.
function M.accept()
  return accept(function(rest)
    return rest
  end)
end

function M.accept_word()
  return accept(suggestion.first_word)
end

function M.accept_line()
  return accept(suggestion.first_line)
end

--- Show the next of several suggestions; `count` may be negative.
---@param count integer
---@return boolean
function M.cycle(count)
  if not shown or not M.is_visible() then
    return false
  end
  shown.index = (shown.index - 1 + count) % #shown.items + 1
  return draw()
end

--- Follow typing in every buffer from now on.
---@param group integer augroup
---@param milliseconds integer
function M.enable(group, milliseconds)
  debounce_ms = milliseconds
  vim.api.nvim_create_autocmd({ 'InsertEnter', 'TextChangedI', 'CursorMovedI' }, { group = group, callback = follow })
  vim.api.nvim_create_autocmd({ 'InsertLeave', 'BufLeave' }, { group = group, callback = M.clear })
  vim.api.nvim_create_autocmd({ 'CompleteChanged', 'CompleteDone' }, {
    group = group,
    callback = vim.schedule_wrap(function()
      if shown then
        draw()
      end
    end),
  })
end

return M
