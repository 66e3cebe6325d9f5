import json

import pytest

from fleet.bridge.contracts import NO_PROFILES, check_profiles, contract_of
from fleet.bridge.profiles import load_profiles
from fleet.bridge.protocol import JobOffer
from fleet.errors import JobConfigInvalid, SettingsInvalid
from fleet.settings import load_settings

PARKS = {
    "provider": "openai_realtime",
    "instructions": "Ask about parks.",
    "phases": [{"id": "a", "name": "A", "duration_seconds": 60}],
}


def found(metadata="", room_metadata="", profiles=NO_PROFILES, participant=None):
    offer = JobOffer(
        job_id="J",
        dispatch_id="D",
        room="r",
        room_sid="S",
        metadata=metadata,
        room_metadata=room_metadata,
        participant_identity=participant,
    )
    return contract_of(offer, profiles)


def test_job_then_room_then_default():
    room = json.dumps({**PARKS, "study_id": "room"})
    profiles = check_profiles({"p": {**PARKS, "study_id": "profile"}}, "p")
    assert found(json.dumps({**PARKS, "study_id": "job"}), room).config.study_id == "job"
    assert found("", room, profiles).config.study_id == "room"
    assert found("", "", profiles).config.study_id == "profile"
    assert found('{"caller": "7"}', "not json", profiles).source == "profile p"


def test_a_named_profile_is_laid_under():
    profiles = check_profiles({"p": PARKS}, None)
    given = found('{"profile": "p", "participant_identity": "p-7", "language": "de"}', "", profiles)
    assert (given.config.language, given.config.participant_identity) == ("de", "p-7")
    assert not given.first_comer


def test_who_is_interviewed():
    assert found(json.dumps(PARKS)).first_comer
    given = found(json.dumps(PARKS), participant="p-9")
    assert (given.config.participant_identity, given.first_comer) == ("p-9", False)


@pytest.mark.parametrize(
    ("metadata", "where"),
    [
        ("", "job metadata"),
        ('{"provider": "openai_re', "job metadata"),
        ('{"provider": "openai_realtime"}', "job metadata"),
        ('{"profile": "nope"}', "job metadata"),
        ('{"profile": ["p"]}', "job metadata"),
    ],
)
def test_what_cannot_be_used_is_said(metadata, where):
    with pytest.raises(JobConfigInvalid) as caught:
        found(metadata, profiles=check_profiles({"p": PARKS}, None))
    assert caught.value.source == where


def test_profiles_are_read_from_a_folder_and_checked(tmp_path):
    (tmp_path / "parks.json").write_text(json.dumps(PARKS))
    keys = {"livekit_api_key": "k", "livekit_api_secret": "s" * 32}
    settings = load_settings(profiles=tmp_path, default_profile="parks", **keys)
    assert load_profiles(settings).contracts == {"parks": PARKS}
    (tmp_path / "bad.json").write_text('{"provider": "nobody"}')
    with pytest.raises(SettingsInvalid, match="profile bad"):
        load_profiles(settings)
    (tmp_path / "bad.json").unlink()
    other = load_settings(profiles=tmp_path, default_profile="x", **keys)
    with pytest.raises(SettingsInvalid, match="no such profile"):
        load_profiles(other)
