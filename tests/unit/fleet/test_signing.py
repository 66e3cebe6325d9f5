from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from fleet.signing import signed_headers, signing_key


def test_the_signature_is_over_id_time_and_body() -> None:
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(key, "evt_1", 1_614_265_330, b'{"test": 2432232314}')
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("evt_1", "1614265330")
    expected = hmac.new(key, b'evt_1.1614265330.{"test": 2432232314}', hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"


def test_the_example_of_the_standards_own_libraries() -> None:
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    id_, at, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
    headers = signed_headers(key, id_, at, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_text_or_base64_behind_its_prefix() -> None:
    assert signing_key("plain text") == b"plain text"
    assert signing_key("whsec_" + base64.b64encode(b"key").decode()) == b"key"
    with pytest.raises(ValueError, match="not base64"):
        signing_key("whsec_!!!")
