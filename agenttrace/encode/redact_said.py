"""
Tell a secret from what is only said about one: placeholders, ordinary words, program text.

Invariant: the more a value looks like written by a machine, the less it is excused.
Where in doubt a value behind ``password`` is taken, one behind ``token`` is not.
"""

from __future__ import annotations

import re

from agenttrace.encode.redact_names import split_words

__all__ = ["is_code", "is_metavariable", "is_place", "is_placeholder", "is_variable", "looks_random"]

_PLACEHOLDER = re.compile(
    r"""
      \[redacted\b[^\]]*\]?                             # taken out before
    | \$\{?[A-Z_][A-Z0-9_]*\}? | \$\{[^}]*\} | \$\([^)]*\)?  # shell
    | \{+\s*[A-Za-z_][\w.\[\]'"!:\- ]*\}+ | \{\}         # templates
    | <[A-Za-z][\w .|\-]*> | %[sdr] | %\(\w+\)[sdr]
    | [*.•·…_\-]+ | \W{1,3} | x{3,} | X{3,} | \*{2,}.*
    | (?i:your|example|dummy)[_\-][A-Za-z_\-]* | \d+-[a-z]+
    """,
    re.VERBOSE,
)
_CODE = re.compile(
    r"""
      [A-Za-z_][\w.]*\[[\w.:\-]*\]?(?:[.,)].*)?           # os.environ[
    | [A-Za-z_][\w.]*\(                                   # getenv(
    | [A-Za-z_][\w.]*\(.*\)(?:[.,;:\[(].*)?               # hash(password)
    | [A-Za-z_.]{3,}\([A-Za-z_.,=*]*                      # config.get(server,
    | \$?[A-Za-z_]\w*(?:->|::)\w.*
    """,
    re.VERBOSE,
)
_CHAIN = re.compile(r"[A-Za-z_]+(?:\.[A-Za-z_]+)*")
_ROOTS = frozenset(
    """
    self cls this config cfg settings args opts options params os env environ process ctx context request req
    response resp user form data event body payload session state props secrets vars var local module
    """.split()
)
_LAST_WORDS = frozenset(
    "password passwd pwd pass passphrase secret token key apikey credential credentials cookie".split()
)
_SAID = frozenset(
    """
    none null nil true false undefined str string bytes text int integer number bool boolean any object
    optional required missing invalid incorrect wrong empty blank unknown yes no on off set unset changed
    updated reset expired hidden masked redacted removed disabled enabled default value key name input output
    is was are must should can cannot may will to the a an and or not with for from in of if when that this
    it be has have option flag argument arg placeholder field ok failed failure success succeeded error
    mismatch type secretstr secretbytes todo tbd n/a na ascii file stdin prompt env keyring vault auto
    generated include omit same-origin password secret token base64 base64-encoded sha1 sha256 sha512
    sha-256 sha-512 md5 utf8 utf-8 bcrypt argon2 pbkdf2 oauth2 oauth2.0 x509
    """.split()
)
_PATH = re.compile(r"[~/.]|[A-Za-z]:\\")
_SIGNS = frozenset("!#$%^*+=~@?")
_MIN_RANDOM_CHARACTERS = 6
_MIN_WORD_CHARACTERS = 20


def is_placeholder(value: str) -> bool:
    """Tell whether *value* stands for a secret, or is a word that says something about one."""
    return value.lower() in _SAID or _PLACEHOLDER.fullmatch(value) is not None


def is_code(value: str, name: str) -> bool:
    """Tell whether an unquoted *value* behind *name* (folded) is program text: a call, a variable."""
    if _CODE.fullmatch(value):
        return True
    if not _CHAIN.fullmatch(value):
        return False
    words = split_words(value)
    if "".join(words) == name:
        return True
    if "_" not in value and "." not in value:
        return False
    return value.split(".", 1)[0] in _ROOTS or (bool(words) and words[-1] in _LAST_WORDS)


def is_place(value: str, name: str) -> bool:
    """Tell whether *value* is the working directory that ``PWD`` names as often as a password."""
    return name == "pwd" and _PATH.match(value) is not None


def is_metavariable(value: str) -> bool:
    """Tell whether *value* is what a usage line puts for an option's value: ``--password PASSWORD``."""
    words = split_words(value)
    return value.isupper() and bool(words) and (words[-1] in _LAST_WORDS or words[-1] in _SAID)


def is_variable(value: str) -> bool:
    """Tell whether *value* may be a variable's or attribute's name."""
    return _CHAIN.fullmatch(value) is not None


def looks_random(value: str) -> bool:
    """Tell whether *value* is written like a key: one word, letters with digits or signs, or very long."""
    if (
        len(value) < _MIN_RANDOM_CHARACTERS
        or not any(map(str.isalpha, value))
        or any(map(str.isspace, value))
    ):
        return False
    if any(map(str.isdigit, value)) or not _SIGNS.isdisjoint(value):
        return True
    return len(value) >= _MIN_WORD_CHARACTERS and value.isalpha()
