"""Secrets are found in texts by what they look like and by what stands around them."""

from __future__ import annotations

import orjson
import pytest

from agenttrace.encode.redact import Rules
from agenttrace.encode.redact_text import replace_spans

_RULES = Rules.default()
_H = "hunter2xyz9"

GIVEN_AWAY = [
    f"define('DB_PASSWORD', '{_H}');",
    f'setenv("API_KEY", "{_H}")',
    f"[('user','bob'),('password', '{_H}')]",
    f"ALTER USER bob WITH PASSWORD '{_H}';",
    f"invalid password '{_H}'",
    f"Your password is: {_H}",
    f"password is {_H}",
    f"Password for bob: {_H}",
    f"<input type='password' name='password' value='{_H}'>",
    f"curl -H 'Cookie: a=\"q\"; b={_H}' x",
    f'Cookie: a="1"; b="{_H}"',
    f"document.cookie = 'session={_H}'",
    f"password: |\n  {_H}",
    f'password = """{_H}"""',
    f"password == '{_H}'",
    f"export PGPASSWORD={_H}; psql",
    f'{{\n  "password":\n    "{_H}"\n}}',
    f"'password' => '{_H}'",
    f"$password = '{_H}';",
    f"password:={_H}",
    f"spring.datasource.password={_H}",
    f"aws_secret_access_key = {_H}abcdef/+x",
    f"Api Key: {_H}",
    f"x?password%3D{_H}%26y",
    f"--password '{_H}'",
    f"-Dpassword={_H}",
    f"/p:Password={_H}",
    f"Password = SecretStr('{_H}')",
    f"https://user:{_H}@host/x?e=a@b.c",
    f"https:\\/\\/user:{_H}@host",
    f"https://user:pa/{_H}@host",
    f"https://user:p@{_H}@host",
    f"https://{_H}{_H}@github.com/x",
    f"jdbc:postgresql://h/db?user=x&password={_H}",
    f"Proxy-Authorization: Basic {_H}abc=",
    f"authorization=Bearer%20{_H}abc",
    f"Authorization: {_H}abcdefgh",
    f"\x1b[31mpassword\x1b[0m={_H}",
    f"\x1b[31mPASSWORD={_H}\x1b[0m",
    f"sshpass -p '{_H}' ssh x",
    f"password\t{_H}",
    f"- password: {_H}",
    f"password: {_H} # production",
    f"user bob password {_H}",
    f"db_pw={_H}",
    f"'client_secret': u'{_H}'",
    f"password\\u003d{_H}",
    f"&quot;password&quot;:&quot;{_H}&quot;",
    f"(password={_H})",
    f"PASSWORD_1={_H}",
    f"пароль password={_H}",
    f"PaSsWoRd={_H}",
    f"password={_H},user=x",
    f"password: {_H}\\nuser: x",
    f"x\\npassword={_H}",
]


class TestAText:
    @pytest.mark.parametrize("text", GIVEN_AWAY)
    def test_that_gives_a_password_away(self, text: str) -> None:
        """Every way of writing is seen, also within JSON within JSON."""
        nested = orjson.dumps({"o": orjson.dumps({"t": text}).decode()})
        assert _H not in _RULES.redact_text(text)
        assert _H.encode() not in _RULES.redact_payload(orjson.dumps({"o": text}))
        assert _H.encode() not in _RULES.redact_payload(nested)

    @pytest.mark.parametrize(
        "before", ["\n", "\\n", "\\\\n", "%20", "%3D", "\x1b[31m", "\\u001b[0;31m", "(", "é", "x-", "_", "="]
    )
    def test_with_a_key_behind(self, before: str) -> None:
        """An escape or a colour before a key does not hide where it begins."""
        key = "gh" + "p_" + "A1b2" * 9
        assert key not in _RULES.redact_text(f"x{before}{key} y")

    def test_with_many_hits_and_no_secret_stays(self) -> None:
        """Program text full of telling names comes back as the same object."""
        text = (
            "def f(token, password=None):\n    return token if password is None else tokens[password]\n" * 50
        )
        assert _RULES.redact_text(text) is text

    @pytest.mark.parametrize(
        "piece",
        [
            *(
                "password=",
                "password='",
                'password":"',
                '\\"password\\":\\"',
                "cookie: a=",
                "authorization: ",
            ),
            *(
                "bearer ",
                "://a:",
                "@http://a",
                "sig=",
                "-eyJ",
                "_ghp_",
                "curl -u a ",
                "<input name=password ",
            ),
            *("login a password ", "password is ", "token = ", "--password ", "-----BEGIN PRIVATE KEY-----"),
            *("\\", "password: |\n", "'password', ", "password=a.", "key ", "eyJ."),
        ],
    )
    @pytest.mark.slow
    def test_that_repeats_one_piece_for_ever_ends(self, piece: str) -> None:
        """No pattern's cost grows with the square of a 256 KiB text."""
        text = (piece * (262_144 // len(piece))) + "@"
        assert "[redacted:failure]" not in _RULES.redact_text(text)


class TestReplaceSpans:
    def test_joins_what_overlaps(self) -> None:
        """Overlapping spans become one; what lies between others stays."""
        assert (
            replace_spans("0123456789", [(2, 5, "a"), (4, 7, "b"), (8, 9, "c")])
            == "01[redacted:a]7[redacted:c]9"
        )

    def test_gives_the_text_back_without_spans(self) -> None:
        """No span, no change."""
        assert replace_spans("abc", []) == "abc"
