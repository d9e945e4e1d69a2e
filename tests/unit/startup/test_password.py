"""The Secret with the server's password is created once, and one that is there is kept."""

import json
from collections.abc import Callable

import httpx
import pytest

from dbtpod.errors import SettingsError
from dbtpod.startup import password

PATH = "/api/v1/namespaces/shop/secrets"


def kubernetes(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(base_url="https://kubernetes.default.svc", transport=httpx.MockTransport(answer))


def test_a_missing_secret_is_created_with_another_password_each_time_and_outlives_the_release() -> None:
    made: list[dict[str, dict[str, str]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", PATH)
        made.append(json.loads(request.content))
        return httpx.Response(201, json={})

    for _ in range(2):
        said = password.ensure(kubernetes(answer), "shop", "shop-auth", {"team": "bi"})

    assert said == "The Secret shop-auth was created."
    user, _, word = made[0]["stringData"]["auth-string"].partition(":")
    assert (user, len(word), word.isalnum()) == ("admin", 32, True)
    assert word not in made[1]["stringData"]["auth-string"]
    assert word not in said
    assert made[0]["metadata"]["labels"] == {"team": "bi"}
    assert made[0]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_a_secret_that_is_there_keeps_its_password_and_is_marked_as_kept() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(409, json={"message": "already exists"})
        assert (request.method, request.url.path) == ("PATCH", f"{PATH}/shop-auth")
        assert request.headers["content-type"] == "application/merge-patch+json"
        assert json.loads(request.content) == {"metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}}
        return httpx.Response(200, json={})

    assert "its password stays" in password.ensure(kubernetes(answer), "shop", "shop-auth", {})


def test_a_refusal_is_said_in_kubernetes_own_words() -> None:
    refused = kubernetes(lambda _: httpx.Response(403, json={"message": 'secrets is forbidden: User "x" cannot'}))

    with pytest.raises(SettingsError, match='shop-auth could not be created: secrets is forbidden: User "x" cannot'):
        password.ensure(refused, "shop", "shop-auth", {})


def test_no_answer_is_an_error_that_the_job_tries_again() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("timed out", request=request)

    with pytest.raises(SettingsError, match="Kubernetes' API does not answer: ConnectTimeout"):
        password.ensure(kubernetes(answer), "shop", "shop-auth", {})
