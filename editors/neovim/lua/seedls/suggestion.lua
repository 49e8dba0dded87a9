-- One suggestion as text: what is left of it after typing, and its next word or line. Pure: no buffer, no screen.

local M = {}

--- What is left of `text` when its beginning `typed` is already there; nil when something else was typed.
---@param text string
---@param typed string
---@return string?
function M.rest(text, typed)
  if text:sub(1, #typed) ~= typed then
    return nil
  end
  return text:sub(#typed + 1)
end

--- The first word with the blanks before it; a run of punctuation counts as a word, a line's end as a blank.
---@param text string
---@return string
function M.first_word(text)
  local blanks = text:match('^%s*')
  local after = text:sub(#blanks + 1)
  -- Bytes of characters beyond ASCII belong to words: a character is never cut.
  local word = after:match('^[%w_\128-\255]+') or after:match('^[^%w%s_\128-\255]+') or ''
  return blanks .. word
end

--- The rest of the current line; at a line's end, the next line with its indentation.
---@param text string
---@return string
function M.first_line(text)
  return text:match('^\n?[^\n]*')
end

--- LF only, as buffers hold lines.
---@param text string
---@return string
function M.with_plain_line_ends(text)
  return (text:gsub('\r\n?', '\n'))
end

return M
