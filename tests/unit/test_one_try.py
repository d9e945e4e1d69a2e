"""Settings of Prefect for one try are the caller's own, but for the number of tries."""

from concurrent.futures import ThreadPoolExecutor

from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, Settings, get_current_settings, temporary_settings

from dbtpod.one_try import one_try_each


def test_only_the_number_of_tries_differs_while_it_lasts() -> None:
    before = get_current_settings()
    expected = before.model_dump()
    expected["client"]["max_retries"] = 0

    with one_try_each():
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 0
        assert get_current_settings().model_dump() == expected

    assert get_current_settings() == before
    assert PREFECT_CLIENT_MAX_RETRIES.value() > 0


def test_another_thread_keeps_its_tries() -> None:
    with one_try_each(), ThreadPoolExecutor() as others:
        assert others.submit(PREFECT_CLIENT_MAX_RETRIES.value).result(10) > 0


def test_settings_that_a_caller_has_stay() -> None:
    with temporary_settings({"api.url": "http://elsewhere/api"}), one_try_each():
        found: Settings = get_current_settings()
        assert found.api.url == "http://elsewhere/api"
