-- Drives a headless Neovim through what a person does: open a file, take the suggestion at the cursor, run a refactoring,
-- save. Usage: nvim --headless --clean -l driver.lua PLAN.json; writes what it saw to the plan's `report`.

local plan = vim.json.decode(table.concat(vim.fn.readfile(arg[1]), '\n'))
local report = { messages = {} }

local function finish(problem)
  report.problem = problem
  vim.fn.writefile({ vim.json.encode(report) }, plan.report)
  vim.cmd(problem and 'cquit' or 'qall!')
end

local function wait(what, condition)
  if not vim.wait(plan.timeout_ms, condition, 20) then
    finish('timed out: ' .. what)
  end
end

vim.lsp.handlers['window/showMessage'] = function(_, params)
  table.insert(report.messages, params.message)
end
vim.lsp.handlers['seedls/stateChanged'] = function(_, params)
  report.state = params.state
end

vim.opt.runtimepath:prepend(plan.runtimepath)
vim.lsp.config('seedls', { cmd = plan.cmd, cmd_env = plan.env })
vim.lsp.enable('seedls')
vim.cmd.edit(plan.file)
if vim.bo.filetype == '' then
  vim.bo.filetype = 'python'
end
vim.api.nvim_exec_autocmds('FileType', { buffer = 0 })

local buffer = vim.api.nvim_get_current_buf()
local client
wait('the client to attach', function()
  client = vim.lsp.get_clients({ bufnr = buffer, name = 'seedls' })[1]
  return client ~= nil and client.initialized
end)
report.encoding = client.offset_encoding
report.capabilities = client.server_capabilities
wait('the model to load', function()
  return report.state == 'ready' or report.state == 'failed'
end)

-- The suggestion: 0.11 has no UI for it, so ask by hand and insert what comes.
vim.o.virtualedit = 'onemore' -- the cursor may stand behind the last character, as in insert mode
vim.api.nvim_win_set_cursor(0, plan.cursor)
local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
params.context = { triggerKind = 1 }
local answer = client:request_sync('textDocument/inlineCompletion', params, plan.timeout_ms, buffer)
local result = answer and answer.result
if type(result) == 'table' and result.items and result.items[1] then
  local item = result.items[1]
  report.suggestion = item.insertText
  vim.lsp.util.apply_text_edits(
    { { range = item.range, newText = item.insertText } }, buffer, client.offset_encoding)
  if item.command then
    client:exec_cmd(item.command, { bufnr = buffer })
  end
end

-- The refactoring, through the command a person would use.
local before = vim.api.nvim_buf_get_changedtick(buffer)
vim.lsp.buf.code_action({
  apply = true,
  context = { only = { 'refactor.rewrite' }, diagnostics = {} },
  range = { start = plan.range[1], ['end'] = plan.range[2] },
  filter = function(action)
    return vim.startswith(action.title, plan.action)
  end,
})
wait('the refactoring', function()
  return vim.api.nvim_buf_get_changedtick(buffer) > before or #report.messages > 0
end)

vim.cmd.write()
report.status = client:request_sync('workspace/executeCommand', { command = 'seedls.status' }, plan.timeout_ms).result
client:stop()
wait('the server to stop', function()
  return client:is_stopped()
end)
finish(nil)
