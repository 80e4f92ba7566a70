"""Names of files, which may hold anything: as text that can be read, and as names for files of ours."""

from __future__ import annotations

import hashlib
import re
import unicodedata

#: Bytes of the longest name that `safe_name` gives; file systems take 255, endings and the names of partial files included.
LONGEST_NAME = 120


def printable(text: str) -> str:
    """A text on one line that every terminal, table and page takes, with escapes for what cannot be seen or encoded.

    Bytes of a file name that are not UTF-8 become ``\\xfc``, a line feed ``\\n``; marks that turn the direction of writing,
    by which a name could look like another, are escaped too.
    """
    return re.sub("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", _escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    # Where Python found no letter for a byte of a file name, it put the byte here.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else found[0].encode("unicode_escape").decode()


def safe_name(name: str) -> str:
    """A name for files that no file system, shell or other program refuses or misreads, at most `LONGEST_NAME` bytes long.

    An ordinary name stays as it is.  Where letters must be replaced or cut off, a few digits of the whole name's fingerprint
    follow, so that two names never become one.
    """
    plain = unicodedata.normalize("NFC", printable(name))
    safe = re.sub(r'[<>:"/\\|?*]', "_", plain)
    safe = re.sub(r"^[-.~\s]", "_", safe)
    safe = re.sub(r"^(con|prn|aux|nul|com\d|lpt\d)(?=\.|\s*$)", r"\1_", safe, flags=re.IGNORECASE)  # devices of Windows
    if safe == plain != "" and len(safe.encode()) <= LONGEST_NAME:
        return safe
    mark = f"_{hashlib.sha256(plain.encode()).hexdigest()[:8]}"
    return safe.encode()[: LONGEST_NAME - len(mark)].decode(errors="ignore") + mark
