"""
What is taken for a secret by default: names that tell, formats that speak for themselves.

Data only. A name is told by whole words after splitting camelCase and snake_case, so
``max_tokens``, ``author`` and ``session_id`` are no secrets. Sources: the providers'
own pages on key formats, and the public rule sets of gitleaks and trufflehog.
"""

from __future__ import annotations

__all__ = [
    "COMPANIONS",
    "FORMATS",
    "GATES",
    "NEUTRAL_AFTER",
    "NEUTRAL_BEFORE_TOKEN",
    "PATTERNS",
    "PIECES",
    "TELLING_ENDINGS",
    "TELLING_NAMES",
    "WEAK_NAMES",
    "WORDS",
]

TELLING_NAMES = frozenset(
    """
    password passwords passwd passwds passphrase passphrases passcode passcodes pwd pw dbpw userpw
    dbpass userpass adminpass rootpass smtppass mailpass emailpass ftppass sshpass authpass
    mysqlpass pgpass postgrespass redispass sudopass proxypass httppass vaultpass loginpass
    secret secrets secretid clientsecret clientsecrets
    token accesstoken accesstokens refreshtoken refreshtokens authtoken authtokens apitoken apitokens
    bearertoken sessiontoken idtoken bottoken bearer
    apikey apikeys accesskey accesskeys secretkey secretkeys privatekey privatekeys signingkey
    encryptionkey decryptionkey masterkey sshkey authkey servicekey sessionkey sharedkey accountkey
    storagekey deploykey hmackey aeskey rsakey pgpkey gpgkey webhookkey consumerkey subscriptionkey
    licensekey clientkey sharedaccesskey sharedaccesssignature
    authorization cookie cookies setcookie
    credential credentials connectionstring connectionstrings
    """.split()
)
"""Names without their separators: ``api_key``, ``apiKey`` and ``API-KEY`` are all ``apikey``."""

TELLING_ENDINGS = ("password", "passwd", "passphrase", "apikey", "secretkey", "accesstoken", "authtoken")
"""Ends of a single word that tell as well: ``PGPASSWORD``, ``dbpassword``."""

WEAK_NAMES = frozenset("pw token secret secrets bearer cookie cookies credential credentials".split())
"""Names that prose and program text use often: behind them an unquoted value must look like a key."""

NEUTRAL_AFTER = frozenset(
    """
    age alg algorithm arn at available bucket budget class count counts cost created dict dir duration
    enabled encoding endpoint env error errors estimate exchange expires expired expiration expiry exp field
    fields file filename format group hint id ids index indices info input issue issuer kind label
    length lengths level lifetime limit limits line list location logprob logprobs manager map max
    message metadata mgr min missing mode name names needed num number offset param parameter path paths
    per placeholder policies policy position present price probability prompt provider rate ratio
    ref reference regex remaining request required requirement requirements reset rotation rule rules
    schema scheme scope scopes set size sizes source spec spent state stats status step store strength
    style template text timeout title total ttl type types updated uri url urls usage used valid
    validation validator var variable version warning window
    """.split()
)
"""Words behind a telling name that make it speak *about* a secret: ``token_type``, ``password_hint``."""

NEUTRAL_BEFORE_TOKEN = frozenset(
    """
    bos cls completion continuation cont cursor current decoded end eof eos eot first has image input
    is last mask max min model new next num number of output pad padding page pagination per prev
    previous prompt sep separator special start stop sync system target text time unexpected unk unknown
    """.split()
)
"""
Words before ``token`` that speak of text or of paging.

A paging cursor (``next_page_token``, ``sync_token``) opens nothing without the credentials
that stand beside it, and a trace without it cannot show how a tool went through its pages.
"""

COMPANIONS = {
    word: sorted(
        {name[: name.rindex(word)] for name in TELLING_NAMES if name.rstrip("s").endswith(word)} - {""}
    )
    for word in ("key", "token", "pass")
}
"""What stands before these words in the names above; a bare ``key`` or ``pass`` is nothing."""

_W = "[A-Za-z0-9_-]"
_A = "[A-Za-z0-9]"

FORMATS: tuple[tuple[str, str, str], ...] = (
    # rule, how it begins (a letter, a class of letters, or a look-behind), how it goes on
    ("anthropic", "sk-ant-", f"{_W}{{16,}}"),
    ("openrouter", "sk-or-", f"{_W}{{16,}}"),
    ("openai", "sk-(?:proj|svcacct|admin|None|lf)-", f"{_W}{{16,}}"),
    ("api_key", "sk-", f"{_A}{{20,}}{_W}*"),
    ("elevenlabs", "sk_", "[0-9a-f]{40,}"),
    ("stripe", "[sr]k_(?:live|test)_", f"{_A}{{10,}}"),
    ("stripe", "whsec_", "[A-Za-z0-9+/=]{16,}"),
    ("google", "AIza", f"{_W}{{30,}}"),
    ("google", "GOCSPX-", f"{_W}{{20,}}"),
    ("google", "(?<=ya29\\.)", f"{_W}{{20,}}"),
    ("aws", "A(?:KIA|SIA|BIA|CCA)", f"[A-Z0-9]{{16}}(?!{_A})"),
    ("github", "gh[pousr]_", f"{_A}{{30,}}"),
    ("github", "github_pat_", "[A-Za-z0-9_]{22,}"),
    ("gitlab", "gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt|ffct)-", f"{_W}{{20,}}"),
    ("slack", "xox[abcdeoprs]-", f"{_W}{{10,}}"),
    ("slack", "xapp-", f"\\d-{_W}{{10,}}"),
    ("huggingface", "hf_", f"{_A}{{30,}}"),
    ("npm", "npm_", f"{_A}{{30,}}"),
    ("pypi", "pypi-AgE", f"{_W}{{30,}}"),
    ("sendgrid", "(?<=SG\\.)", f"{_W}{{16,}}\\.{_W}{{16,}}"),
    ("twilio", "SK", f"[0-9a-f]{{32}}(?!{_A})"),
    ("mailgun", "key-", f"[0-9a-f]{{32}}(?!{_A})"),
    ("digitalocean", "do[opr]_v1_", "[0-9a-f]{32,}"),
    ("groq", "gsk_", f"{_A}{{20,}}"),
    ("xai", "xai-", f"{_A}{{20,}}"),
    ("replicate", "r8_", f"{_A}{{20,}}"),
    ("perplexity", "pplx-", f"{_A}{{20,}}"),
    ("langsmith", "lsv2_", "[A-Za-z0-9_]{24,}"),
    ("langsmith", "ls__", f"{_A}{{24,}}"),
    ("tavily", "tvly-", f"{_W}{{16,}}"),
    ("linear", "lin_(?:api|oauth)_", f"{_A}{{20,}}"),
    ("notion", "ntn_", f"{_A}{{20,}}"),
    ("notion", "secret_", f"{_A}{{32,}}"),
    ("databricks", "dapi", f"[0-9a-f]{{32}}(?:-\\d)?(?!{_A})"),
    ("telegram", "(?<=[0-9]{6}:)A", f"{_W}{{32,36}}(?!{_W})"),
    ("discord", "[MNO]", f"{_W}{{22,27}}\\.{_W}{{6,7}}\\.{_W}{{27,}}"),
    ("jwt", "eyJ", f"{_W}{{10,4000}}+\\.{{1,3}}{_W}{{8,}}+(?:\\.{_W}*+)*"),
    ("fireworks", "fw_", f"{_A}{{20,}}"),
    ("together", "tgp_v1_", f"{_W}{{20,}}"),
    ("cerebras", "csk-", f"{_A}{{30,}}"),
    ("nvidia", "nvapi-", f"{_W}{{30,}}"),
    ("pinecone", "pcsk_", f"{_W}{{30,}}"),
    ("supabase", "sb(?:p|_secret)_", f"{_W}{{20,}}"),
    ("vault", "(?<=hv[sbr]\\.)", f"{_W}{{24,}}"),
    ("doppler", "(?<=dp\\.(?:pt|st|ct|sa)\\.)", f"{_A}{{40,}}"),
    ("shopify", "shp(?:at|ca|pa|ss)_", "[0-9a-fA-F]{32}"),
    ("square", "sq0(?:atp|csp)-", f"{_W}{{20,}}"),
    ("atlassian", "ATATT3", f"{_W}{{40,}}"),
    ("figma", "fig[duo]_", f"{_W}{{30,}}"),
    ("postman", "PMAK-", "[0-9a-f]{24}-[0-9a-f]{34}"),
    ("newrelic", "NRAK-", "[A-Z0-9]{27}"),
    ("grafana", "gl(?:sa|c)_", f"{_W}{{30,}}"),
    ("sentry", "sntry[su]_", f"{_W}{{30,}}"),
    ("docker", "dckr_(?:pat|oat)_", f"{_W}{{20,}}"),
    ("planetscale", "pscale_(?:tkn|pw|oauth)_", f"{_W}{{30,}}"),
    ("jina", "jina_", f"{_W}{{40,}}"),
    ("firecrawl", "fc-", f"[0-9a-f]{{32}}(?!{_A})"),
    ("e2b", "e2b_", "[0-9a-f]{40}"),
    ("age", "AGE-SECRET-KEY-1", "[A-Z0-9]{50,}"),
)
"""Keys that are known by how they begin. The run of 16 and more is what tells them from words."""

_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
"""Where a word begins: also behind an escaped line break, whose letter belongs to the break."""

PATTERNS: tuple[tuple[str, str, str], ...] = (
    # rule, a literal that stands in every match (in lower case), the pattern; group "secret" is taken
    (
        "private_key",
        "private key",
        r"(?P<secret>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"
        r"(?s:.*?)(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z))",
    ),
    (
        "url_password",
        "@",
        r":(?:\\*/){2}[^\s/?#:@\"'<>\\]{0,256}:(?!\d{1,5}(?:[/?#\"'\s]|\Z))"
        r"(?P<secret>[^\s\"'<>/?#]{1,2048}|[^\s\"'<>]{1,256}?)@",
    ),
    ("url_user", "@", r":(?:\\*/){2}(?P<secret>[A-Za-z0-9_.~%-]{20,2048})(?::x-oauth-basic)?@"),
    (
        "bearer",
        "bearer",
        r"(?i)" + _START + r"bearer\s+(?P<secret>(?=[^\s\"'\\]*[0-9]|[^\s\"'\\]{32})[A-Za-z0-9._~+/=-]{12,})",
    ),
    (
        "signature",
        "sig",
        r"(?i)"
        + _START
        + r"sig(?:nature)?(?:=|%3D)(?P<secret>(?=[A-Za-z%+/=_-]{0,99}[0-9])[A-Za-z0-9%+/=_-]{16,})",
    ),
    (
        "curl_user",
        "curl",
        _START + r"curl\b[^\n]{0,300}?\s(?:-u|--user|--proxy-user)[ =]?\\*[\"']?[^\s:\"'\\]{1,100}:"
        r"(?P<secret>[^\s\"'\\]+)",
    ),
    (
        "input",
        "<input",
        r"(?i)<input\b[^<>]{0,300}?(?:type|name|id)=\\*[\"']?[\w-]*(?:password|secret|token)[\w-]*\\*[\"']?"
        r"[^<>]{0,300}?\bvalue=\\*[\"'](?P<secret>[^\"'\\]+)",
    ),
    (
        "password_hash",
        "$",
        r"(?P<secret>\$(?:2[abxy]?|[156y]|argon2(?:id|i|d)|scrypt)\$[A-Za-z0-9./$=,+]{20,})",
    ),
    ("netrc", "password", _START + r"login\s+\S+\s+password[ \t]+(?P<secret>\S+)"),
    ("sshpass", "sshpass", _START + r"sshpass\s+-p\s*\\*[\"']?(?P<secret>[^\s\"'\\]+)"),
    (
        "webhook",
        "hooks.slack",
        r"hooks\.slack(?:-gov)?\.com\\*/(?:services|workflows|triggers)\\*/(?P<secret>[\w+/\\-]{10,})",
    ),
    ("webhook", "api/webhooks/", r"api/webhooks/\d+/(?P<secret>[\w-]{20,})"),
    ("webhook", "webhook.office", r"webhook\.office\.com/(?P<secret>[\w@/.-]{20,})"),
)
"""Secrets that are known by what stands around them."""

WORDS: tuple[tuple[str, str], ...] = (
    # a letter that is rare in text, and what stands around it; see PIECES
    ("k", r"k(?:(?<=tok)en(?:{token}|(?!s(?![a-z])|iz))|(?<=cook)ie|ey(?:{key}))"),
    ("z", r"z(?<=authoriz)"),
    ("p", r"p(?:ass(?:word|wd|phrase|code|{pass})|w)"),
    ("c", r"c(?:(?<=sec)ret(?!ar[iy])|redential|onnection{gap}string)"),
)
"""
Where a telling name may stand, in lower case; ``{key}`` becomes look-behinds for what makes a key tell.

All of ``tokens`` but ``access_tokens`` and its like are left out: they count.

The engine looks for the one letter only: nine words take 0.8 µs in 500 bytes; sought one
after the other they took 2.3.
"""

GATES: tuple[tuple[str, str], ...] = (
    ("b", r"b(?:earer)"),
    ("=", r"=(?:(?<=sig=)|(?<=signature=))[a-z0-9%+/_-]{16}"),
    ("%", r"%3d(?:(?<=sig%3d)|(?<=signature%3d))[a-z0-9%+/_-]{16}"),
    ("@", r":(?:\\*/){2}[^\s\"@]{0,2400}@"),
    ("c", r"c(?:url .{0,400}?-)"),
    ("$", r"\$(?:2[abxy]?|[156y]|argon2(?:id|i|d)|scrypt)\$"),
)
"""What else may open the gate; again with a letter that must be there at all."""

PIECES = (
    *(b"ken", b"kie", b"key", b"uthoriz", b"pass", b"pw", b"cret", b"credential", b"connection"),
    *(b"bearer", b"g=", b"ure=", b"g%3d", b"ure%3d", b"@", b"url ", b"$"),
)
"""Texts of which one stands in all that ``WORDS`` and ``GATES`` find; each begins with a rare letter."""
