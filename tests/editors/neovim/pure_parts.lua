-- Checks of the plugin's pure parts: what is left of a suggestion, its words and lines, and changed blocks of lines.

local hunks = require('seedls.hunks')
local suggestion = require('seedls.suggestion')
local config = require('seedls.config')

local function same(name, got, wanted)
  assert(vim.deep_equal(got, wanted), ('%s: %s is not %s'):format(name, vim.inspect(got), vim.inspect(wanted)))
end

same('rest', suggestion.rest('total = 1', 'tot'), 'al = 1')
same('rest of all', suggestion.rest('a', 'a'), '')
same('rest of another', suggestion.rest('total', 'x'), nil)

for text, word in pairs({
  ['a b'] = 'a', [' = b'] = ' =', ['foo(bar)'] = 'foo', ['("x")'] = '("', ['\n  café'] = '\n  café', ['漢👋 x'] = '漢👋', [''] = '',
  ['  '] = '  ',
}) do
  same('first_word of ' .. text, suggestion.first_word(text), word)
end
same('first_line', suggestion.first_line('a b\nc'), 'a b')
same('first_line at an end', suggestion.first_line('\n  c\nd'), '\n  c')
same('line ends', suggestion.with_plain_line_ends('a\r\nb\rc\n'), 'a\nb\nc\n')

-- Words and lines put together are the whole, whatever the text.
math.randomseed(1)
local alphabet = { 'a', '_', '1', ' ', '\t', '\n', '(', '.', '=', '漢', '👋', 'é' }
for _ = 1, 500 do
  local text = ''
  for _ = 1, math.random(0, 12) do
    text = text .. alphabet[math.random(#alphabet)]
  end
  for _, part in ipairs({ suggestion.first_word, suggestion.first_line }) do
    local rest, joined = text, ''
    while rest ~= '' do
      local taken = part(rest)
      assert(#taken > 0, 'a part is empty: ' .. vim.inspect(rest))
      joined = joined .. taken
      rest = rest:sub(#taken + 1)
    end
    same('parts', joined, text)
  end
end

-- Hunks: putting them in from the bottom up gives the new lines, whatever the lines.
local function applied(before, found)
  local lines = vim.deepcopy(before)
  for number = #found, 1, -1 do
    local hunk = found[number]
    same('old lines', vim.list_slice(lines, hunk.row + 1, hunk.row + #hunk.old), hunk.old)
    for _ = 1, #hunk.old do
      table.remove(lines, hunk.row + 1)
    end
    for place, line in ipairs(hunk.new) do
      table.insert(lines, hunk.row + place, line)
    end
  end
  return lines
end

local words = { 'a', 'b', '', '\tc', '漢👋' }
for _ = 1, 500 do
  local before, after = {}, {}
  for _ = 1, math.random(0, 6) do
    table.insert(before, words[math.random(#words)])
    if math.random() < 0.7 then
      table.insert(after, before[#before])
    end
    if math.random() < 0.3 then
      table.insert(after, words[math.random(#words)])
    end
  end
  same('hunks', applied(before, hunks.between(before, after)), after)
end
same('no hunks', hunks.between({ 'a' }, { 'a' }), {})

-- Which edits are for one file.
local edits = { { range = {}, newText = '' } }
same('changes', { hunks.single_file({ changes = { ['file:///a'] = edits } }) }, { 'file:///a', edits })
local versioned = { documentChanges = { { textDocument = { uri = 'file:///a', version = 3 }, edits = edits } } }
same('documentChanges', { hunks.single_file(versioned) }, { 'file:///a', edits, 3 })
same('two files', hunks.single_file({ changes = { ['file:///a'] = edits, ['file:///b'] = edits } }), nil)
same('a new file', hunks.single_file({ documentChanges = { { kind = 'create', uri = 'file:///a' } } }), nil)
same('nothing', hunks.single_file({}), nil)

-- Options.
local options, problems = config.resolve({ debounce_ms = 0, ghost_text = false, keymaps = { accept = false } })
same('problems', problems, {})
same('merged', { options.debounce_ms, options.ghost_text, options.keymaps.accept, options.keymaps.next }, { 0, false, false, '<M-]>' })
for _, wrong in ipairs({
  { debounce_ms = -1 }, { debounce_ms = 1.5 }, { ghost_text = 'x' }, { ghost_text = true }, { preview = 1 }, { cmd = {} },
  { cmd = 'seedls' }, { keymaps = 1 }, { keymaps = { x = 'y' } }, { preview_keymaps = { accept = '' } }, { settings = 1 }, { [1] = 2 },
  { enable = 'yes' },
}) do
  local resolved, said = config.resolve(wrong)
  same('one complaint for ' .. vim.inspect(wrong), #said, 1)
  same('defaults for ' .. vim.inspect(wrong), resolved, config.defaults)
end
