"""Secrets of every known format, put together from parts so that no scanner takes this file for a leak."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable

__all__ = ["BARE_FORMATS", "CONTEXT_FORMATS", "Secret", "make_secret"]

ALNUM = string.ascii_letters + string.digits
WORD = ALNUM + "_-"
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits

Draw = random.Random


def _of(draw: Draw, alphabet: str, count: int) -> str:
    text = "".join(draw.choice(alphabet) for _ in range(count - 2))
    return draw.choice(ALNUM) + text + draw.choice("23456789")


def _hex(draw: Draw, count: int) -> str:
    return "".join(draw.choice(HEX) for _ in range(count))


def _jwt(draw: Draw) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(b'{"sub":"' + _of(draw, ALNUM, 20).encode() + b'"}').decode().rstrip("=")
    return f"{header}.{body}.{_of(draw, WORD, 43)}"


def _pem(draw: Draw, kind: str = "RSA ") -> str:
    lines = "\n".join(_of(draw, ALNUM + "+/", 64) for _ in range(4))
    return f"-----BEGIN {kind}PRIVATE " + f"KEY-----\n{lines}\n-----END {kind}PRIVATE " + "KEY-----"


Maker = Callable[[Draw], str]

BARE_FORMATS: dict[str, Maker] = {
    "openai": lambda d: "sk" + "-" + _of(d, ALNUM, 48),
    "openai_project": lambda d: "sk" + "-proj-" + _of(d, WORD, 100),
    "openai_service": lambda d: "sk" + "-svcacct-" + _of(d, WORD, 60),
    "deepseek": lambda d: "sk" + "-" + _hex(d, 32),
    "anthropic": lambda d: "sk" + "-ant-api03-" + _of(d, WORD, 95),
    "openrouter": lambda d: "sk" + "-or-v1-" + _hex(d, 64),
    "google": lambda d: "AI" + "za" + _of(d, WORD, 35),
    "google_oauth": lambda d: "GOC" + "SPX-" + _of(d, WORD, 28),
    "google_access": lambda d: "ya" + "29." + _of(d, WORD, 60),
    "aws_id": lambda d: "AK" + "IA" + "".join(d.choice(UPPER) for _ in range(16)),
    "aws_session_id": lambda d: "AS" + "IA" + "".join(d.choice(UPPER) for _ in range(16)),
    "github": lambda d: "gh" + d.choice("pousr") + "_" + _of(d, ALNUM, 36),
    "github_fine": lambda d: "github" + "_pat_" + _of(d, ALNUM, 22) + "_" + _of(d, ALNUM, 59),
    "gitlab": lambda d: "gl" + "pat-" + _of(d, WORD, 20),
    "slack": lambda d: "xo" + "x" + d.choice("bapr") + f"-{d.randrange(10**11)}-" + _of(d, ALNUM, 24),
    "slack_app": lambda d: "xa" + "pp-1-A0123-" + _of(d, ALNUM, 30),
    "slack_hook": lambda d: "https://hooks." + "slack.com/services/T0ABC1234/B0ABC1234/" + _of(d, ALNUM, 24),
    "stripe": lambda d: d.choice("sr") + "k_li" + "ve_" + _of(d, ALNUM, 24),
    "stripe_hook": lambda d: "wh" + "sec_" + _of(d, ALNUM, 32),
    "huggingface": lambda d: "h" + "f_" + _of(d, ALNUM, 34),
    "npm": lambda d: "np" + "m_" + _of(d, ALNUM, 36),
    "pypi": lambda d: "py" + "pi-AgEIcHlwaS5vcmc" + _of(d, WORD, 100),
    "sendgrid": lambda d: "S" + "G." + _of(d, WORD, 22) + "." + _of(d, WORD, 43),
    "twilio": lambda d: "S" + "K" + _hex(d, 32),
    "mailgun": lambda d: "ke" + "y-" + _hex(d, 32),
    "digitalocean": lambda d: "do" + "p_v1_" + _hex(d, 64),
    "groq": lambda d: "gs" + "k_" + _of(d, ALNUM, 52),
    "xai": lambda d: "xa" + "i-" + _of(d, ALNUM, 80),
    "replicate": lambda d: "r" + "8_" + _of(d, ALNUM, 37),
    "perplexity": lambda d: "pp" + "lx-" + _of(d, ALNUM, 48),
    "langsmith": lambda d: "ls" + "v2_pt_" + _hex(d, 32) + "_" + _hex(d, 10),
    "tavily": lambda d: "tv" + "ly-" + _of(d, ALNUM, 32),
    "linear": lambda d: "li" + "n_api_" + _of(d, ALNUM, 40),
    "notion": lambda d: "nt" + "n_" + _of(d, ALNUM, 46),
    "notion_old": lambda d: "sec" + "ret_" + _of(d, ALNUM, 43),
    "databricks": lambda d: "da" + "pi" + _hex(d, 32),
    "telegram": lambda d: f"{d.randrange(10**9, 10**10)}:" + "A" + "A" + _of(d, WORD, 33),
    "discord": lambda d: "M" + _of(d, ALNUM, 23) + "." + _of(d, ALNUM, 6) + "." + _of(d, WORD, 38),
    "jwt": _jwt,
    "pem_rsa": lambda d: _pem(d),
    "pem_plain": lambda d: _pem(d, ""),
    "pem_openssh": lambda d: _pem(d, "OPENSSH "),
    "pem_ec": lambda d: _pem(d, "EC "),
    "shopify": lambda d: "shp" + "at_" + _hex(d, 32),
    "supabase": lambda d: "sb" + "p_" + _hex(d, 40),
    "atlassian": lambda d: "ATA" + "TT3xFfGF0" + _of(d, WORD, 150),
    "figma": lambda d: "fi" + "gd_" + _of(d, WORD, 40),
    "nvidia": lambda d: "nv" + "api-" + _of(d, WORD, 64),
    "vault": lambda d: "hv" + "s." + _of(d, WORD, 90),
    "docker": lambda d: "dck" + "r_pat_" + _of(d, WORD, 27),
}
"""Formats that speak for themselves: rule-independent name to maker."""

_PASSWORD_SIGNS = ALNUM + "!#%*+,.^~_-"


def _password(draw: Draw) -> str:
    return draw.choice(string.ascii_letters) + _of(draw, _PASSWORD_SIGNS, draw.randrange(8, 20))


CONTEXT_FORMATS: dict[str, Callable[[str], str]] = {
    "bearer header": lambda s: f"Authorization: Bearer {s}",
    "bearer in curl": lambda s: f"curl -H 'Authorization: Bearer {s}' https://api.example.com/v1",
    "assignment": lambda s: f"password={s}",
    "environment": lambda s: f"DB_HOST=x\nDB_PASSWORD={s}\nDB_USER=y",
    "export": lambda s: f"export OPENAI_API_KEY={s}",
    "program text": lambda s: f'client = Client(api_key="{s}", timeout=3)',
    "single quotes": lambda s: f"password = '{s}'",
    "JSON": lambda s: f'{{"user": "bob", "password": "{s}"}}',
    "JSON in JSON": lambda s: f'{{"body": "{{\\"user\\": \\"bob\\", \\"client_secret\\": \\"{s}\\"}}"}}',
    "YAML": lambda s: f"user: bob\npassword: {s}\nhost: db",
    "option": lambda s: f"mysql --user bob --password {s} --host db",
    "option with equals": lambda s: f"tool --api-key={s} run",
    "URL": lambda s: f"postgres://bob:{s}@db.example.com:5432/app",
    "URL without a user": lambda s: f"redis://:{s}@cache:6379/0",
    "query": lambda s: f"https://example.com/cb?client_id=7&client_secret={s}&state=1",
    "SQL Server": lambda s: f"Server=db;User Id=sa;Password={s};Encrypt=yes",
    "Azure storage": lambda s: f"AccountName=a;AccountKey={s};EndpointSuffix=core.windows.net",
    "XML": lambda s: f"<user>bob</user><password>{s}</password>",
    "cookie header": lambda s: f"GET / HTTP/1.1\r\nCookie: sid={s}; theme=dark\r\nHost: x",
    "set-cookie header": lambda s: f"Set-Cookie: sid={s}; HttpOnly",
    "x-api-key header": lambda s: f"x-api-key: {s}",
    "netrc": lambda s: f"machine api.example.com login bob password {s}",
    "curl user": lambda s: f"curl -u bob:{s} https://example.com/",
    "repr": lambda s: f"Config(host='db', password='{s}', port=1)",
    "dict repr": lambda s: f"{{'user': 'bob', 'passwd': '{s}'}}",
    "traceback": lambda s: (
        f'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    login(password="{s}")\n'
        f"LoginError: 401 for password='{s}'"
    ),
}
"""Texts that give a password away by what stands around it."""


class Secret:
    """A secret, and the parts of it that must not be found anywhere."""

    def __init__(self, name: str, text: str, needles: list[str]) -> None:
        self.name = name
        self.text = text
        self.needles = needles

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, {self.text!r})"

    def left_in(self, data: bytes) -> list[str]:
        """Give the needles that are still in *data*."""
        return [needle for needle in self.needles if needle.encode() in data]


def make_secret(name: str, seed: int) -> Secret:
    """Make the secret *name* of either table from *seed*."""
    draw = random.Random(seed)
    if name in BARE_FORMATS:
        text = BARE_FORMATS[name](draw)
        lines = [line for line in text.splitlines() if "----" not in line]
        return Secret(name, text, [line[-16:] for line in lines] + [line[-8:] for line in lines])
    password = _password(draw)
    return Secret(name, CONTEXT_FORMATS[name](password), [password, password[:7], password[-7:]])
