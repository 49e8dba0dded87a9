-- A rewrite in the user's own words that forms under the user's eyes: asks for step after step and shows what there is
-- in the preview. Deciding on a change, or a newer rewrite of the buffer, stops the model.

local hunks = require('seedls.hunks')
local preview = require('seedls.preview')
local protocol = require('seedls.protocol')
local server = require('seedls.server')

local M = {}

local STEP_MS = 250 -- how long the model works between two pictures
local TITLE = 'Refactor'
local runs = {} ---@type table<integer, string> the newest run of each buffer

---@class seedls.Run
---@field client vim.lsp.Client
---@field buffer integer
---@field is_shown boolean
---@field is_over boolean its preview was closed

---@param run seedls.Run
---@param state table an EditRunState
---@return boolean is_wanted whether a further step is wanted
local function show(run, state)
  if state.version ~= vim.lsp.util.buf_versions[run.buffer] then
    return true -- typed meanwhile: the next step has the edits for it
  end
  local before = vim.api.nvim_buf_get_lines(run.buffer, 0, -1, true)
  local after = hunks.lines_after(run.buffer, state.edits, run.client.offset_encoding)
  local found = hunks.between(before, after)
  local is_running = state.state == 'running'
  local title = is_running and ('%s (%d %%)'):format(TITLE, math.floor(state.fraction * 100)) or TITLE
  if run.is_shown then
    return preview.update(run.buffer, title, found)
  end
  if #found > 0 then
    run.is_shown = true
    preview.show(run.buffer, title, found, function()
      run.is_over = true
    end)
  end
  return true
end

---@param run seedls.Run
---@param state table the last EditRunState
local function finish(run, state)
  if runs[run.buffer] == state.run then
    runs[run.buffer] = nil
  end
  -- Also after its end: what is taken is applied here, change by change, and the server may forget the run.
  run.client:request(protocol.EDIT_RUN_CANCEL, { run = state.run }, function() end, run.buffer)
  if not run.is_shown and state.state ~= 'cancelled' then
    server.say(state.reason ~= '' and state.reason or 'the model found nothing to change')
  elseif state.state == 'stopped' then
    server.say(state.reason .. '; what is shown can be taken', vim.log.levels.WARN)
  end
end

---@param run seedls.Run
---@param state table an EditRunState
local function go_on(run, state)
  local is_current = vim.api.nvim_buf_is_loaded(run.buffer) and runs[run.buffer] == state.run and not run.is_over
  if state.state ~= 'running' or not is_current then
    return finish(run, state)
  end
  local params = { run = state.run, milliseconds = STEP_MS }
  server.request(run.client, protocol.EDIT_RUN_STEP, params, run.buffer, function(next_state)
    if run.is_over or not vim.api.nvim_buf_is_loaded(run.buffer) or not show(run, next_state) then
      return finish(run, vim.tbl_extend('force', next_state, { state = 'cancelled' }))
    end
    go_on(run, next_state)
  end)
end

--- Run to the end, or until the user decides; says why when there is nothing to show.
---@param client vim.lsp.Client
---@param buffer integer
---@param wish table an EditRunStart
function M.watch(client, buffer, wish)
  server.request(client, protocol.EDIT_RUN_START, wish, buffer, function(state)
    local run = { client = client, buffer = buffer, is_shown = false, is_over = false }
    if state.state ~= 'running' then
      return finish(run, state)
    end
    runs[buffer] = state.run
    go_on(run, state)
  end)
end

return M
