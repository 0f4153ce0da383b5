"""Names tell by whole words."""

from __future__ import annotations

import pytest

from agenttrace.encode.redact_names import Names, fold_name, split_words

_NAMES = Names()

TELLING = """
    password Password userPassword DB_PASSWORD PGPASSWORD token api_key apiKey APIKEY OPENAI_API_KEY X-Api-Key
    accessToken access_token refreshToken clientSecret AWS_SECRET_ACCESS_KEY private_key Authorization
    Proxy-Authorization Set-Cookie cookie credentials passphrase connection_string password1 new_password
    password_confirmation token_value secret_string SecretString github_token GITHUB_TOKEN authToken
    x-auth-token AccountKey SharedAccessKey jwt_secret webhook_secret db_pass SMTP_PASS MYSQL_PWD
    secret_key_base encryption_key session_token id_token passwd connectionString csrf_token API__KEY
    aws_session_token tokenString access_tokens Access.Token password_reset_token
""".split()

SILENT = """
    max_tokens maxTokens token_count tokenCount tokens input_tokens tokenizer tokenize session_id sessionId
    author authors authority author_id next_page_token nextPageToken page_token eos_token token_type token_ids
    password_policy password_hint password_length is_password_required passwordless secretary key keys keyword
    monkey primary_key foreign_key public_key key_id api_key_id secret_name secret_arn bypass passenger pass
    passed tokens_per_second total_tokens cookie_policy max_token_limit per_token time_to_first_token
    cost_per_token tokenization completion_tokens_details cookies_enabled compass path pass_rate sort_key
    partition_key key_path idempotency_key cache_key authorization_url token_endpoint
""".split()


class TestNames:
    @pytest.mark.parametrize("name", TELLING)
    def test_that_tell(self, name: str) -> None:
        """A telling word is found in any way of writing."""
        assert _NAMES.match(name)

    @pytest.mark.parametrize("name", SILENT)
    def test_that_speak_of_counts_and_kinds_do_not(self, name: str) -> None:
        """Counts, ids, kinds and other words that hold the same letters are no secrets."""
        assert not _NAMES.match(name)

    def test_of_the_users_own_match_in_any_way_of_writing(self) -> None:
        """One spelling given, all spellings meant."""
        names = Names(("employee_number",))
        for name in ("employeeNumber", "EMPLOYEE-NUMBER", "the_employee_number", "employee_number_2"):
            assert names.match(name) == "employeenumber"
            assert names.is_own(name)
        assert not names.match("number_of_employees")

    def test_longer_than_a_name_are_texts(self) -> None:
        """A sentence as a key is not taken for a name."""
        assert not _NAMES.match("password " * 30)


class TestSplitWords:
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("OPENAI_apiKey2", ["openai", "api", "key", "2"]),
            ("XMLHttpRequest", ["xml", "http", "request"]),
            ("X-Api-Key", ["x", "api", "key"]),
            ("", []),
            ("__", []),
        ],
    )
    def test_splits_camel_and_snake_case(self, name: str, words: list[str]) -> None:
        """Words in lower case, numbers apart."""
        assert split_words(name) == words

    def test_folds_without_separators(self) -> None:
        """What a rule's name in a mark looks like."""
        assert fold_name("X-Api-Key") == "xapikey"
