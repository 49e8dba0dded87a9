-- The plugin's own options: defaults, merging, and one complaint for each wrong value. The server's settings pass
-- through `settings` untouched: the server checks them itself.

local M = {}

---@class seedls.Keymaps Keys in insert mode; false leaves one out.
---@field accept string|false
---@field accept_word string|false
---@field accept_line string|false
---@field next string|false
---@field previous string|false
---@field dismiss string|false
---@field trigger string|false

---@class seedls.PreviewKeymaps Keys in normal mode while a preview is open; false leaves one out.
---@field accept string|false the change under the cursor
---@field reject string|false
---@field accept_all string|false
---@field reject_all string|false
---@field next string|false
---@field previous string|false

---@class seedls.Options
---@field cmd string[]? the server's command; nil: `seedls serve --stdio` from the PATH
---@field settings table the server's settings, nested or dotted (docs/settings.md)
---@field enable boolean start the server for the filetypes of lsp/seedls.lua
---@field ghost_text 'auto'|'native'|'plugin'|false who draws suggestions; auto: Neovim where it can (0.12), else the plugin
---@field debounce_ms integer pause in typing before the plugin asks for a suggestion
---@field preview boolean show a rewrite before it touches the buffer
---@field keymaps seedls.Keymaps
---@field preview_keymaps seedls.PreviewKeymaps

---@type seedls.Options
M.defaults = {
  cmd = nil,
  settings = {},
  enable = true,
  ghost_text = 'auto',
  debounce_ms = 60,
  preview = true,
  keymaps = {
    accept = '<Tab>',
    accept_word = '<M-Right>',
    accept_line = '<M-Down>',
    next = '<M-]>',
    previous = '<M-[>',
    dismiss = '<C-]>',
    trigger = '<M-\\>',
  },
  preview_keymaps = {
    accept = '<CR>',
    reject = '<BS>',
    accept_all = 'g<CR>',
    reject_all = 'g<BS>',
    next = ']h',
    previous = '[h',
  },
}

local GHOST_TEXT = { auto = true, native = true, plugin = true, [false] = true }

---@param value any
---@return boolean
local function is_list_of_strings(value)
  return vim.islist(value) and #value > 0 and vim.iter(value):all(function(one)
    return type(one) == 'string'
  end)
end

---@param name string
---@param given any
---@param defaults table<string, any>
---@param problems string[]
---@return table
local function merged_keys(name, given, defaults, problems)
  local merged = vim.deepcopy(defaults)
  if type(given) ~= 'table' then
    table.insert(problems, ('%s is %s, not a table'):format(name, vim.inspect(given)))
    return merged
  end
  for key, value in pairs(given) do
    if defaults[key] == nil then
      table.insert(problems, ('%s.%s is no option'):format(name, key))
    elseif value ~= false and (type(value) ~= 'string' or value == '') then
      table.insert(problems, ('%s.%s is %s, not a key or false'):format(name, key, vim.inspect(value)))
    else
      merged[key] = value
    end
  end
  return merged
end

local CHECKS = {
  cmd = function(value)
    return is_list_of_strings(value) or 'a list of strings'
  end,
  settings = function(value)
    return type(value) == 'table' or 'a table'
  end,
  enable = function(value)
    return type(value) == 'boolean' or 'true or false'
  end,
  ghost_text = function(value)
    return GHOST_TEXT[value] or "'auto', 'native', 'plugin' or false"
  end,
  debounce_ms = function(value)
    return (type(value) == 'number' and value >= 0 and value % 1 == 0) or 'a whole number of milliseconds'
  end,
  preview = function(value)
    return type(value) == 'boolean' or 'true or false'
  end,
}

--- Merge the user's options over the defaults. A wrong value is named and its default is used.
---@param given table?
---@return seedls.Options options, string[] problems
function M.resolve(given)
  local options = vim.deepcopy(M.defaults)
  local problems = {} ---@type string[]
  for key, value in pairs(given or {}) do
    local check = CHECKS[key]
    if key == 'keymaps' or key == 'preview_keymaps' then
      options[key] = merged_keys(key, value, M.defaults[key], problems)
    elseif not check then
      table.insert(problems, ('%s is no option'):format(tostring(key)))
    else
      local verdict = check(value)
      if verdict == true then
        options[key] = value
      else
        table.insert(problems, ('%s is %s, not %s'):format(key, vim.inspect(value), verdict))
      end
    end
  end
  table.sort(problems)
  return options, problems
end

return M
