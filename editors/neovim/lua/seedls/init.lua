-- What users call: `require('seedls').setup(options)` once, the functions behind the keys, and the statusline.
-- Owns the resolved options and the wiring.

local config = require('seedls.config')
local ghost = require('seedls.ghost')
local keymaps = require('seedls.keymaps')
local preview = require('seedls.preview')
local protocol = require('seedls.protocol')
local rewrite = require('seedls.rewrite')
local server = require('seedls.server')

local M = {}

---@type seedls.Options
M.options = config.resolve()
---@type string[] what was wrong with the options given; :checkhealth shows it
M.problems = {}
M.is_set_up = false

--- Who draws suggestions in this Neovim.
---@return 'native'|'plugin'|false
function M.ghost_text()
  local wanted = M.options.ghost_text
  if wanted == 'plugin' or wanted == false then
    return wanted
  end
  return vim.lsp.inline_completion and 'native' or 'plugin'
end

---@return table a vim.lsp.Config
local function client_config()
  local section = vim.tbl_isempty(M.options.settings) and vim.empty_dict() or M.options.settings
  return {
    cmd = M.options.cmd,
    settings = { seedls = section },
    capabilities = {
      -- Versioned edits: one for an older text is then refused and not applied in the wrong place.
      workspace = { workspaceEdit = { documentChanges = true } },
      textDocument = M.ghost_text() and { inlineCompletion = { dynamicRegistration = false } } or nil,
    },
    handlers = {
      [protocol.STATE_CHANGED] = server.on_state_changed,
      ['window/showMessage'] = server.on_show_message,
      ['workspace/applyEdit'] = rewrite.on_apply_edit,
    },
    on_exit = function(_, _, client_id)
      server.forget(client_id)
    end,
  }
end

local function is_native()
  return M.ghost_text() == 'native'
end

--- Keys for an action on the plugin's own ghost text.
---@param action string
---@return fun(): string?
local function on_ghost(action)
  return function()
    return ghost.is_visible() and keymaps.calling(action) or nil
  end
end

---@param action string
---@param count integer
---@return fun(): string?
local function on_any_ghost(action, count)
  return function()
    if is_native() and not ghost.is_visible() then
      vim.lsp.inline_completion.select({ count = count })
      return ''
    end
    return on_ghost(action)()
  end
end

--- Neovim's own `get` accepts and says whether there was something.
local function accept_keys()
  if ghost.is_visible() then
    return keymaps.calling('accept()')
  end
  return is_native() and vim.lsp.inline_completion.get() and '' or nil
end

local function map_keys()
  local keys = M.options.keymaps
  keymaps.map(keys.accept, 'seedls: accept', accept_keys)
  keymaps.map(keys.accept_word, 'seedls: accept a word', on_ghost('accept_word()'))
  keymaps.map(keys.accept_line, 'seedls: accept a line', on_ghost('accept_line()'))
  keymaps.map(keys.next, 'seedls: next', on_any_ghost('cycle(1)', 1))
  keymaps.map(keys.previous, 'seedls: previous', on_any_ghost('cycle(-1)', -1))
  keymaps.map(keys.dismiss, 'seedls: dismiss', on_ghost('dismiss()'))
  keymaps.map(keys.trigger, 'seedls: suggest', function()
    return keymaps.calling('complete()')
  end)
end

--- Colours that follow the colour scheme unless the user gives his own.
local function set_highlights()
  local links = { SeedlsGhost = 'Comment', SeedlsAdd = 'DiffAdd', SeedlsDelete = 'DiffDelete', SeedlsHint = 'Comment' }
  for name, target in pairs(links) do
    vim.api.nvim_set_hl(0, name, { link = target, default = true })
  end
end

--- Start the server for its filetypes, draw its suggestions, map the keys. May be called again with other options.
---@param options table? see |seedls-options|
function M.setup(options)
  M.options, M.problems = config.resolve(options)
  M.is_set_up = true
  if #M.problems > 0 then
    -- Short: a longer message would ask for Enter while Neovim starts.
    vim.schedule(function()
      server.say(('%d wrong options; :checkhealth seedls names them'):format(#M.problems), vim.log.levels.WARN)
    end)
  end
  local group = vim.api.nvim_create_augroup('seedls', { clear = true })
  set_highlights()
  vim.api.nvim_create_autocmd('ColorScheme', { group = group, callback = set_highlights })
  server.watch(group)
  preview.watch(group)
  vim.lsp.config('seedls', client_config())
  ghost.clear()
  if is_native() then
    vim.lsp.inline_completion.enable(true)
  elseif M.ghost_text() == 'plugin' then
    ghost.enable(group, M.options.debounce_ms)
  end
  if M.ghost_text() then
    map_keys()
  end
  vim.lsp.enable('seedls', M.options.enable)
end

--- Take the whole suggestion; false when there is none.
---@return boolean
function M.accept()
  return ghost.accept() or (is_native() and vim.lsp.inline_completion.get())
end

M.accept_word = ghost.accept_word
M.accept_line = ghost.accept_line
M.cycle = ghost.cycle
M.dismiss = ghost.clear
--- Ask for a suggestion at the cursor now.
M.complete = ghost.trigger

--- One short text about the server, for a statusline: `%{v:lua.require'seedls'.statusline()}`.
---@return string
function M.statusline()
  local known = server.known()
  if known.state ~= 'ready' then
    return 'seedls: ' .. known.state
  end
  if server.is_busy() then
    return 'seedls …'
  end
  return known.outcome == 'quiet' and 'seedls: quiet' or 'seedls'
end

--- State, message, last outcome and its reason, for those who build their own.
---@return seedls.Known
function M.known()
  return server.known()
end

return M
