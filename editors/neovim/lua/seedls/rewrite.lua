-- Rewrites: in the user's own words, ready-made, or as the fix of a diagnostic. Asks the server and hands its edit to
-- the preview. Owns the questions to the user; the server decides what may be changed.

local edit_run = require('seedls.edit_run')
local hunks = require('seedls.hunks')
local preview = require('seedls.preview')
local protocol = require('seedls.protocol')
local server = require('seedls.server')

local M = {}

local say = server.say
local REPAIR = 'repair' -- the server's id of that rewrite

---@class seedls.Place
---@field buffer integer
---@field range lsp.Range

--- The lines of an Ex range, or the cursor when there is none (then the server takes the function around it).
---@param client vim.lsp.Client
---@param buffer integer
---@param lines { first: integer, last: integer }? 1-based, inclusive
---@return seedls.Place
local function place_of(client, buffer, lines)
  if not lines then
    local here = vim.lsp.util.make_position_params(0, client.offset_encoding).position
    return { buffer = buffer, range = { start = here, ['end'] = here } }
  end
  local text = vim.api.nvim_buf_get_lines(buffer, lines.last - 1, lines.last, true)[1]
  local last = { line = lines.last - 1, character = vim.str_utfindex(text, client.offset_encoding) }
  return { buffer = buffer, range = { start = { line = lines.first - 1, character = 0 }, ['end'] = last } }
end

--- Show an edit, or apply it at once where it cannot be shown or nobody wants to see it.
---@param client vim.lsp.Client
---@param edit lsp.WorkspaceEdit
---@param title string
---@param on_end fun(is_applied: boolean)
local function present(client, edit, title, on_end)
  local uri, edits, version = hunks.single_file(edit)
  local buffer = uri and vim.uri_to_bufnr(uri)
  if not uri or not buffer or not vim.api.nvim_buf_is_loaded(buffer) or not require('seedls').options.preview then
    vim.lsp.util.apply_workspace_edit(edit, client.offset_encoding)
    return on_end(true)
  end
  if version and version ~= vim.lsp.util.buf_versions[buffer] then
    say('the document changed while the model worked', vim.log.levels.WARN)
    return on_end(false)
  end
  local before = vim.api.nvim_buf_get_lines(buffer, 0, -1, true)
  local after = hunks.lines_after(buffer, edits or {}, client.offset_encoding)
  preview.show(buffer, title, hunks.between(before, after), function(num_kept)
    on_end(num_kept > 0)
  end)
end

--- The handler of `workspace/applyEdit`: the answer waits until the user has decided.
function M.on_apply_edit(problem, params, context)
  local waiting = coroutine.running()
  local client = assert(vim.lsp.get_client_by_id(context.client_id))
  if not waiting or not require('seedls').options.preview then
    return vim.lsp.handlers['workspace/applyEdit'](problem, params, context)
  end
  local is_applied = nil ---@type boolean?
  present(client, params.edit, params.label or 'Rewrite', function(decision)
    is_applied = decision
    if coroutine.status(waiting) == 'suspended' then
      vim.schedule(function()
        coroutine.resume(waiting)
      end)
    end
  end)
  if is_applied == nil then
    coroutine.yield()
  end
  return { applied = is_applied }
end

---@param client vim.lsp.Client
---@param place seedls.Place
---@param instruction string
local function send_instruction(client, place, instruction)
  local wish = { uri = vim.uri_from_bufnr(place.buffer), range = place.range, instruction = instruction }
  if require('seedls').options.preview then
    return edit_run.watch(client, place.buffer, wish)
  end
  local params = { command = protocol.COMMAND_REFACTOR, arguments = { wish } }
  server.request(client, 'workspace/executeCommand', params, place.buffer, function() end)
end

--- Rewrite in the user's own words; asks for them when there are none.
---@param buffer integer
---@param lines { first: integer, last: integer }?
---@param instruction string
function M.refactor(buffer, lines, instruction)
  local client = server.attached(buffer)
  local place = place_of(client, buffer, lines)
  if vim.trim(instruction) ~= '' then
    return send_instruction(client, place, instruction)
  end
  vim.ui.input({ prompt = 'Refactor: ' }, function(typed)
    if typed and vim.trim(typed) ~= '' then
      send_instruction(client, place, typed)
    end
  end)
end

---@param client vim.lsp.Client
---@param buffer integer
---@param action lsp.CodeAction
local function run_action(client, buffer, action)
  server.request(client, 'codeAction/resolve', action, buffer, function(resolved)
    if resolved and resolved.edit then
      present(client, resolved.edit, resolved.title, function() end)
    end -- without an edit the server has said why
  end)
end

---@param client vim.lsp.Client
---@param buffer integer
---@param actions lsp.CodeAction[]?
---@param nothing string said when there is no action
local function choose(client, buffer, actions, nothing)
  local disabled = nil ---@type string?
  local offered = vim.tbl_filter(function(action)
    disabled = action.disabled and action.disabled.reason or disabled
    return not action.disabled and action.data ~= nil
  end, actions or {})
  if #offered <= 1 then
    if offered[1] then
      return run_action(client, buffer, offered[1])
    end
    return say(disabled or nothing, vim.log.levels.WARN)
  end
  local function title_of(action)
    return action.title
  end
  vim.ui.select(offered, { prompt = 'Rewrite', format_item = title_of, kind = 'codeaction' }, function(chosen)
    if chosen then
      run_action(client, buffer, chosen)
    end
  end)
end

---@param client vim.lsp.Client
---@param place seedls.Place
---@param context lsp.CodeActionContext
---@param done fun(actions: lsp.CodeAction[]?)
local function ask_actions(client, place, context, done)
  local params = { textDocument = { uri = vim.uri_from_bufnr(place.buffer) }, range = place.range, context = context }
  server.request(client, 'textDocument/codeAction', params, place.buffer, done)
end

--- Choose one of the server's ready-made rewrites; `words` narrow the choice by title.
---@param buffer integer
---@param lines { first: integer, last: integer }?
---@param words string
function M.rewrite(buffer, lines, words)
  local client = server.attached(buffer)
  local context = { diagnostics = {}, only = { 'refactor' }, triggerKind = 1 }
  ask_actions(client, place_of(client, buffer, lines), context, function(actions)
    local wanted = vim.tbl_filter(function(action)
      return action.title:lower():find(vim.trim(words):lower(), 1, true) ~= nil
    end, actions or {})
    choose(client, buffer, wanted, 'no such rewrite here: select some code, or put the cursor into a function')
  end)
end

--- Show what should follow from the last edit: a rename half done, an argument missing elsewhere.
---@param buffer integer
function M.follow(buffer)
  local client = server.attached(buffer)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  server.request(client, protocol.NEXT_EDIT, params, buffer, function(found)
    if not found or #found.edits == 0 then
      return say('nothing follows from the last edit')
    end
    local edits = vim.tbl_map(function(edit)
      return { range = edit.range, newText = edit.text }
    end, found.edits)
    local document = { uri = found.uri, version = found.version }
    present(client, { documentChanges = { { textDocument = document, edits = edits } } }, 'Follow', function() end)
  end)
end

--- Mend a file that does not parse.
---@param buffer integer
function M.repair(buffer)
  local client = server.attached(buffer)
  local context = { diagnostics = {}, only = { 'quickfix' }, triggerKind = 1 }
  ask_actions(client, place_of(client, buffer), context, function(actions)
    local repairs = vim.tbl_filter(function(action)
      return action.data ~= nil and action.data.instruction == REPAIR
    end, actions or {})
    choose(client, buffer, repairs, 'nothing to repair: this file has no syntax error, or is too long')
  end)
end

--- Fix a diagnostic of the lines, or of the cursor's line.
---@param buffer integer
---@param lines { first: integer, last: integer }?
function M.fix(buffer, lines)
  local client = server.attached(buffer)
  local row = vim.api.nvim_win_get_cursor(0)[1]
  local wanted = lines or { first = row, last = row }
  local reported = vim.tbl_filter(function(one)
    return one.lnum + 1 <= wanted.last and (one.end_lnum or one.lnum) + 1 >= wanted.first
  end, vim.diagnostic.get(buffer))
  if #reported == 0 then
    return say('no diagnostic is reported on this line', vim.log.levels.WARN)
  end
  local context = { diagnostics = vim.lsp.diagnostic.from(reported), only = { 'quickfix' }, triggerKind = 1 }
  ask_actions(client, place_of(client, buffer, wanted), context, function(actions)
    choose(client, buffer, actions, 'the server offers no fix here')
  end)
end

return M
