"""The chart with a project of the user's own: its image, its prefect.yaml without a new image."""

import pytest

from rendered import pod_specs
from rendering import Manifest, Render, helm_template

pytestmark = pytest.mark.xdist_group("chart")

# What a template language, YAML or a shell might read otherwise.
PREFECT_YAML = """\
# {{ not a template }}
deployments:
  - name: "nightly: {{ $TARGET }}"
    description: |
      two lines,

      and `$(one)` more
"""


def named(manifests: list[Manifest], name: str) -> Manifest:
    [found] = [each for each in manifests if each["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ({"repository": "registry.example.com/shop"}, "without image.tag: give the tag of your build"),
        ({"repository": "shop", "tag": "0.1.0"}, "give your builds tags of their own"),
    ],
)
def test_an_image_of_ones_own_needs_a_tag_that_is_not_the_products(image: dict[str, str], says: str) -> None:
    done = helm_template({"image": image})

    assert done.returncode != 0
    assert says in done.stderr


@pytest.mark.parametrize("image", [{"tag": "4f0c1d2"}, {"digest": f"sha256:{'0' * 64}"}])
def test_an_image_with_a_tag_or_a_digest_of_its_own_is_taken(render: Render, image: dict[str, str]) -> None:
    specs = pod_specs(render({"image": {"repository": "shop", **image}}))

    images = {container["image"] for spec in specs.values() for container in spec["containers"]}
    assert len(images) == 1
    assert images.pop().startswith("shop")


def test_prefect_yaml_by_value_reaches_the_registration_as_it_is_written(render: Render) -> None:
    manifests = render({"prefectYaml": PREFECT_YAML})

    [hook] = [each for each in manifests if each["kind"] == "Job" and "register" in each["metadata"]["name"]]
    assert hook["spec"]["template"]["metadata"]["annotations"]["dbtpod/prefect-yaml"] == PREFECT_YAML
    [spec] = [spec for name, spec in pod_specs(manifests).items() if "register" in name]
    # Beside the image's flows, to which its entrypoints are relative.
    mounted = {mount.get("subPath"): mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounted["prefect.yaml"] == "/opt/dbtpod/prefect.yaml"
    [volume] = [each for each in spec["volumes"] if each["name"] == "registration"]
    assert [each["path"] for each in volume["downwardAPI"]["items"]] == ["base-job-template.json", "prefect.yaml"]


def test_another_prefect_yaml_is_registered_anew(render: Render) -> None:
    def jobs(text: str) -> set[str]:
        manifests = render({"prefectYaml": text})
        return {each["metadata"]["name"] for each in manifests if each["kind"] == "Job"}

    assert jobs(PREFECT_YAML) != jobs(PREFECT_YAML + "# changed\n")
