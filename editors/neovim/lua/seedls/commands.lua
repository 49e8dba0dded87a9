-- `:Seedls NAME ...`: what the user can ask for by name. Owns the names; the work is done elsewhere.

local preview = require('seedls.preview')
local protocol = require('seedls.protocol')
local rewrite = require('seedls.rewrite')
local server = require('seedls.server')

local M = {}

---@class seedls.Call
---@field buffer integer
---@field words string the arguments
---@field bang boolean
---@field lines { first: integer, last: integer }? of the Ex range

--- Run a command of the server, which tells its answer to the user itself.
---@param command string
local function run_on_server(command)
  local buffer = vim.api.nvim_get_current_buf()
  local client = server.client(buffer) or server.attached(buffer)
  server.request(client, 'workspace/executeCommand', { command = command }, buffer, function() end)
end

--- Open a text that nobody edits in a window of its own.
---@param name string
---@param lines string[]
local function open_report(name, lines)
  vim.cmd.new()
  local buffer = vim.api.nvim_get_current_buf()
  vim.api.nvim_buf_set_lines(buffer, 0, -1, true, lines)
  vim.bo[buffer].buftype, vim.bo[buffer].bufhidden = 'nofile', 'wipe'
  vim.bo[buffer].modifiable = false
  vim.api.nvim_buf_set_name(buffer, ('seedls://%s/%d'):format(name, buffer))
end

local function doctor()
  local program = (require('seedls').options.cmd or vim.lsp.config.seedls.cmd)[1]
  if vim.fn.executable(program) ~= 1 then
    error({ seedls = ('%s is not a program (:checkhealth seedls)'):format(program) })
  end
  server.say('measuring this machine; takes some seconds')
  vim.system({ program, 'doctor' }, { text = true }, vim.schedule_wrap(function(done)
    local text = done.stdout ~= '' and done.stdout or done.stderr
    open_report('doctor', vim.split(vim.trim(text or ''), '\n'))
  end))
end

--- Switch completions of the buffer's language; the server hears of it through the configuration.
local function toggle()
  local buffer = vim.api.nvim_get_current_buf()
  local client = server.attached(buffer)
  local language = client.get_language_id(buffer, vim.bo[buffer].filetype)
  local section = client.settings.seedls or {}
  local completion = section.completion or {}
  local disabled = completion.disabledLanguages or section['completion.disabledLanguages'] or {}
  local is_on = vim.list_contains(disabled, language)
  local next_list = vim.tbl_filter(function(one)
    return one ~= language
  end, disabled)
  if not is_on then
    table.insert(next_list, language)
  end
  section['completion.disabledLanguages'] = nil
  section.completion = vim.tbl_extend('force', completion, { disabledLanguages = next_list })
  client.settings.seedls = section
  client:notify('workspace/didChangeConfiguration', { settings = client.settings })
  require('seedls.ghost').clear()
  server.say(('completions are %s for %s'):format(is_on and 'on' or 'off', language))
end

--- Stop the server's process and start another.
local function restart()
  for _, client in ipairs(vim.lsp.get_clients({ name = 'seedls' })) do
    client:stop()
  end
  local function is_gone()
    return #vim.lsp.get_clients({ name = 'seedls', _uninitialized = true }) == 0
  end
  if not vim.wait(3000, is_gone, 20) then
    for _, client in ipairs(vim.lsp.get_clients({ name = 'seedls' })) do
      client:stop(true)
    end
    vim.wait(2000, is_gone, 20)
  end
  vim.lsp.enable('seedls')
  server.say('restarted')
end

---@type table<string, { run: fun(call: seedls.Call), doc: string }>
M.table = {
  accept = {
    doc = 'keep the previewed change at the cursor; with ! all of them',
    run = function(call) preview.accept(call.buffer, call.bang) end,
  },
  complete = { doc = 'ask for a suggestion at the cursor', run = function() require('seedls').complete() end },
  doctor = { doc = 'what this machine can do', run = doctor },
  explain = {
    doc = 'why the last suggestion was shown or not',
    run = function() run_on_server(protocol.COMMAND_EXPLAIN_LAST) end,
  },
  fix = { doc = 'fix a diagnostic of this line', run = function(call) rewrite.fix(call.buffer, call.lines) end },
  follow = {
    doc = 'show what should follow from your last edit',
    run = function(call) rewrite.follow(call.buffer) end,
  },
  log = { doc = "open the log of Neovim's clients", run = function() vim.cmd.edit(vim.lsp.get_log_path()) end },
  next = { doc = 'go to the next previewed change', run = function(call) preview.go(call.buffer, 1) end },
  previous = { doc = 'go to the previous previewed change', run = function(call) preview.go(call.buffer, -1) end },
  refactor = {
    doc = 'rewrite the lines, or the function at the cursor, as your words say',
    run = function(call) rewrite.refactor(call.buffer, call.lines, call.words) end,
  },
  reject = {
    doc = 'drop the previewed change at the cursor; with ! all of them',
    run = function(call) preview.reject(call.buffer, call.bang) end,
  },
  repair = { doc = 'mend a file that does not parse', run = function(call) rewrite.repair(call.buffer) end },
  restart = { doc = "restart the server's process", run = restart },
  rewrite = {
    doc = 'choose a ready-made rewrite; words narrow the choice',
    run = function(call) rewrite.rewrite(call.buffer, call.lines, call.words) end,
  },
  status = { doc = 'model and counters', run = function() run_on_server(protocol.COMMAND_STATUS) end },
  toggle = { doc = 'completions on or off for this language', run = toggle },
}

--- Run `:Seedls ...`; a failure is one line.
---@param command vim.api.keyset.create_user_command.command_args
function M.run(command)
  local name, bang, words = command.args:match('^([%w_]+)(!?)%s*(.*)$')
  local entry = M.table[name or '']
  if not entry then
    local names = table.concat(M.names(), ', ')
    return server.say(('%s is none of %s'):format(name or vim.inspect(command.args), names), vim.log.levels.ERROR)
  end
  local is_ok, problem = pcall(entry.run, {
    buffer = vim.api.nvim_get_current_buf(),
    words = words,
    bang = command.bang or bang == '!',
    lines = command.range > 0 and { first = command.line1, last = command.line2 } or nil,
  })
  if not is_ok then
    local message = type(problem) == 'table' and problem.seedls or tostring(problem)
    server.say('' .. message, vim.log.levels.ERROR)
  end
end

---@return string[]
function M.names()
  local names = vim.tbl_keys(M.table)
  table.sort(names)
  return names
end

--- Names that begin as typed.
---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  if line:match('Seedls!?%s+%S+%s') then
    return {}
  end
  return vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, M.names())
end

return M
