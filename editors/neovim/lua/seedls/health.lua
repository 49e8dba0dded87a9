-- :checkhealth seedls: what is there, what is missing, and what to do about it.

local M = {}

local function check_neovim()
  local version = tostring(vim.version())
  if vim.fn.has('nvim-0.11') ~= 1 then
    return vim.health.error(('Neovim %s is too old'):format(version), 'Neovim 0.11 or newer is needed')
  end
  local engine = require('seedls').ghost_text()
  local drawn_by = engine == 'native' and 'Neovim itself' or engine == 'plugin' and 'this plugin' or 'nobody (turned off)'
  vim.health.ok(('Neovim %s; suggestions are drawn by %s'):format(version, drawn_by))
end

local function check_options()
  local seedls = require('seedls')
  if not seedls.is_set_up then
    return vim.health.warn('setup() was not called', "require('seedls').setup() starts the server and maps the keys")
  end
  for _, problem in ipairs(seedls.problems) do
    vim.health.error(problem, ':help seedls-options')
  end
  if #seedls.problems == 0 then
    vim.health.ok('the options are understood')
  end
end

local function check_program()
  local config = vim.lsp.config.seedls
  local command = config and config.cmd
  if type(command) ~= 'table' then
    return vim.health.info('the command is a function; not looked at')
  end
  if vim.fn.executable(command[1]) ~= 1 then
    return vim.health.error(('%s is not a program on the PATH'):format(command[1]), {
      'in a clone of seedls: pip install .',
      "or name it: require('seedls').setup({ cmd = { '/path/to/seedls', 'serve', '--stdio' } })",
    })
  end
  vim.health.ok(('program: %s'):format(vim.fn.exepath(command[1])))
end

---@param client vim.lsp.Client
local function check_client(client)
  local protocol = require('seedls.protocol')
  local answer, problem = client:request_sync(protocol.STATUS, vim.empty_dict(), 3000, 0)
  local status = answer and answer.result
  if not status then
    local reason = problem or (answer and answer.err and answer.err.message) or 'no answer'
    return vim.health.error('the server does not answer: ' .. reason, ':Seedls restart')
  end
  local line = ('server %s, model %s is %s: %s'):format(client.id, status.model, status.state, status.message)
  if status.state == 'failed' then
    return vim.health.error(line, { 'seedls model install coder-0.5b', ':Seedls doctor' })
  end
  vim.health.ok(line)
  vim.health.info(('positions are counted in %s'):format(client.offset_encoding))
  for name, count in vim.spairs(status.counters) do
    vim.health.info(('%s: %d'):format(name, count))
  end
end

function M.check()
  vim.health.start('seedls')
  check_neovim()
  check_options()
  check_program()
  local clients = vim.lsp.get_clients({ name = 'seedls' })
  if #clients == 0 then
    vim.health.info('no server is running: open a file of a language it serves (lsp/seedls.lua)')
  end
  for _, client in ipairs(clients) do
    check_client(client)
  end
end

return M
