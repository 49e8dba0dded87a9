"""Count the words of text files, most frequent first."""

import argparse
import re
from collections import Counter
from pathlib import Path

WORD = re.compile(r"[A-Za-z']+")


def count_words(text):
    counts = Counter()
    for word in WORD.findall(text):
        counts[word.lower()] += 1
    return counts


def most_common(counts, limit):
    pairs = []
    for word, count in counts.most_common(limit):
        pairs.append((word, count))
    return pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="text files to read")
    parser.add_argument("--limit", type=int, default=10, help="how many words to print")
    args = parser.parse_args()

    total = Counter()
    for path in args.paths:
        total.update(count_words(path.read_text(encoding="utf-8")))
    for word, count in most_common(total, args.limit):
        print(f"{count:6d}  {word}")


if __name__ == "__main__":
    main()
