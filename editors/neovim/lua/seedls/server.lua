-- The running server as the plugin sees it: which client, its state, what it is busy with, why it was quiet. Owns that
-- knowledge; starts nothing (vim.lsp does) and draws nothing.

local protocol = require('seedls.protocol')

local M = {}

---@class seedls.Known
---@field state 'off'|'unloaded'|'loading'|'ready'|'failed'
---@field message string one line for people
---@field outcome string of the last completion, '' when there was none
---@field reason string

---@type seedls.Known
local OFF = { state = 'off', message = 'the server is not running', outcome = '', reason = '' }
local known = {} ---@type table<integer, seedls.Known>
local running = {} ---@type table<integer, table<integer, true>> client id -> ids of requests the model works on
local MODEL_METHODS = {
  ['textDocument/inlineCompletion'] = true,
  ['codeAction/resolve'] = true,
  ['workspace/executeCommand'] = true,
  [protocol.EDIT_RUN_STEP] = true,
}

--- The client of a buffer, or any seedls client when the buffer has none.
---@param buffer integer?
---@return vim.lsp.Client?
function M.client(buffer)
  local here = vim.lsp.get_clients({ name = 'seedls', bufnr = buffer or vim.api.nvim_get_current_buf() })
  return here[1] or vim.lsp.get_clients({ name = 'seedls' })[1]
end

--- The client that serves a buffer. Errors: none does.
---@param buffer integer
---@return vim.lsp.Client
function M.attached(buffer)
  local client = vim.lsp.get_clients({ name = 'seedls', bufnr = buffer })[1]
  if not client then
    error({ seedls = 'no server is running for this buffer (:checkhealth seedls)' })
  end
  return client
end

---@return seedls.Known
function M.known()
  local client = M.client()
  return client and known[client.id] or OFF
end

--- Whether the model works on something that was asked for.
---@return boolean
function M.is_busy()
  local client = M.client()
  return client ~= nil and next(running[client.id] or {}) ~= nil
end

---@param client_id integer
---@param change table
local function update(client_id, change)
  known[client_id] = vim.tbl_extend('force', known[client_id] or OFF, change)
  vim.schedule(function()
    vim.cmd.redrawstatus({ bang = true })
  end)
end

--- The handler of `seedls/stateChanged`.
function M.on_state_changed(_, params, context)
  update(context.client_id, { state = params.state, message = params.message })
end

local LEVELS = { vim.log.levels.ERROR, vim.log.levels.WARN, vim.log.levels.INFO, vim.log.levels.DEBUG }

--- One line for the user. The screen is brought up to date first: two messages in a row would ask for Enter.
---@param message string
---@param level integer?
function M.say(message, level)
  vim.cmd.redraw()
  vim.notify('seedls: ' .. message:gsub('^seedls: ', ''), level or vim.log.levels.INFO)
end

--- The handler of `window/showMessage`.
function M.on_show_message(_, params)
  M.say(params.message, LEVELS[params.type])
end

--- Send a request and hand its result to `done`; a failure is shown in one line.
---@param client vim.lsp.Client
---@param method string
---@param params table?
---@param buffer integer
---@param done fun(result: any)
---@return integer? id of the request
function M.request(client, method, params, buffer, done)
  local _, id = client:request(method, params, function(problem, result)
    if problem then
      M.say(problem.message or vim.inspect(problem), vim.log.levels.ERROR)
    else
      done(result)
    end
  end, buffer)
  return id
end

--- The state may have changed before the notification had a listener.
---@param client vim.lsp.Client
local function read_state(client)
  client:request(protocol.STATUS, vim.empty_dict(), function(problem, status)
    if not problem and status then
      update(client.id, { state = status.state, message = status.message })
    end
  end)
end

--- Remember what came of the last completion, so that silence has a reason in the statusline.
---@param client vim.lsp.Client
local function read_reason(client)
  client:request(protocol.EXPLAIN_LAST, vim.empty_dict(), function(problem, last)
    if not problem and last and last.request == 'inlineCompletion' then
      update(client.id, { outcome = last.outcome, reason = last.reason })
    end
  end)
end

---@param client vim.lsp.Client
---@param id integer
---@param request { type: string, method: string }
local function note_request(client, id, request)
  if not MODEL_METHODS[request.method] then
    return
  end
  running[client.id] = running[client.id] or {}
  running[client.id][id] = request.type == 'pending' or nil
  update(client.id, {})
  if request.type == 'complete' and request.method == 'textDocument/inlineCompletion' and not client:is_stopped() then
    read_reason(client)
  end
end

--- Follow every seedls client from now on.
---@param group integer augroup
function M.watch(group)
  local function client_of(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    return client and client.name == 'seedls' and client or nil
  end
  vim.api.nvim_create_autocmd('LspAttach', {
    group = group,
    callback = function(event)
      local client = client_of(event)
      if client and not known[client.id] then
        update(client.id, { state = 'unloaded', message = 'starting' })
        read_state(client)
      end
    end,
  })
  vim.api.nvim_create_autocmd('LspRequest', {
    group = group,
    callback = function(event)
      local client = client_of(event)
      if client then
        note_request(client, event.data.request_id, event.data.request)
      end
    end,
  })
end

--- Forget a client that ended; the handler of its exit.
---@param client_id integer
function M.forget(client_id)
  known[client_id], running[client_id] = nil, nil
  vim.schedule(function()
    vim.cmd.redrawstatus({ bang = true })
  end)
end

return M
