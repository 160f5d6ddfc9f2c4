"""Files, datasets, models, backbones: each endpoint once, for both clients."""

from __future__ import annotations

from collections.abc import Iterable

from app.client.call import Call, as_model, path, prefer
from app.client.endpoint import D, Resource, endpoint
from app.client.inputs import Labelled, Raw, examples_body, part
from app.client.results import (
    Added,
    Alias,
    Backbone,
    Dataset,
    Deleted,
    Example,
    File,
    Model,
    Page,
    Taught,
)
from models.base import ModalityName, TaskName


class Files(Resource[D]):
    """`/v1/files`: labelled uploads."""

    @endpoint
    def create(
        self,
        source: Raw,
        *,
        filename: str | None = None,
        modality: ModalityName | None = None,
        task: TaskName | None = None,
        purpose: str = "fine-tune",
    ) -> Call[File]:
        """Upload a file: bytes with a `filename` (its ending tells the format), or a path (read whole)."""
        fields = {"purpose": purpose, "modality": modality, "task": task}
        data = {name: value for name, value in fields.items() if value is not None}
        files = [part("file", source, filename)]
        return Call("POST", "/v1/files", as_model(File), data=data, files=files, repeatable=False)

    @endpoint
    def list(self, *, after: str | None = None, limit: int | None = None) -> Call[Page[File]]:
        """Uploads, newest first."""
        return Call("GET", "/v1/files", as_model(Page[File]), params={"after": after, "limit": limit})

    @endpoint
    def retrieve(self, file_id: str) -> Call[File]:
        """One upload."""
        return Call("GET", path("/v1/files/{}", file_id), as_model(File))

    @endpoint
    def content(self, file_id: str) -> Call[bytes]:
        """The bytes as they were uploaded."""
        return Call("GET", path("/v1/files/{}/content", file_id), lambda response: response.content)

    @endpoint
    def delete(self, file_id: str) -> Call[Deleted]:
        """Forget an upload."""
        return Call("DELETE", path("/v1/files/{}", file_id), as_model(Deleted))


class Datasets(Resource[D]):
    """`/v1/datasets`: examples that grow."""

    @endpoint
    def create(
        self, name: str, *, modality: ModalityName, task: TaskName = "classification"
    ) -> Call[Dataset]:
        """A new, empty dataset."""
        body = {"name": name, "modality": modality, "task": task}
        return Call("POST", "/v1/datasets", as_model(Dataset), json=body, repeatable=False)

    @endpoint
    def list(self, *, after: str | None = None, limit: int | None = None) -> Call[Page[Dataset]]:
        """Datasets, newest first."""
        params = {"after": after, "limit": limit}
        return Call("GET", "/v1/datasets", as_model(Page[Dataset]), params=params)

    @endpoint
    def delete(self, dataset_id: str) -> Call[Deleted]:
        """Forget a dataset with its examples."""
        return Call("DELETE", path("/v1/datasets/{}", dataset_id), as_model(Deleted))

    @endpoint
    def retrieve(self, dataset_id: str) -> Call[Dataset]:
        """Counts, and the digest of the current snapshot."""
        return Call("GET", path("/v1/datasets/{}", dataset_id), as_model(Dataset))

    @endpoint
    def add(self, dataset_id: str, examples: Iterable[Labelled]) -> Call[Added]:
        """Add examples, all or none; those already there are folded. Conflict on another label."""
        url = path("/v1/datasets/{}/examples", dataset_id)
        return Call("POST", url, as_model(Added), **examples_body(examples))

    @endpoint
    def examples(
        self, dataset_id: str, *, after: str | None = None, limit: int | None = None, label: str | None = None
    ) -> Call[Page[Example]]:
        """Stored examples in the order of their upload."""
        url = path("/v1/datasets/{}/examples", dataset_id)
        params = {"after": after, "limit": limit, "label": label}
        return Call("GET", url, as_model(Page[Example]), params=params)

    @endpoint
    def delete_example(self, dataset_id: str, example_id: str) -> Call[Deleted]:
        """Remove one example."""
        url = path("/v1/datasets/{}/examples/{}", dataset_id, example_id)
        return Call("DELETE", url, as_model(Deleted))


class Models(Resource[D]):
    """`/v1/models`. A reference is `name`, `name:3` or `name@alias`."""

    @endpoint
    def list(self) -> Call[Page[Model]]:
        """Every model, at its live version."""
        return Call("GET", "/v1/models", as_model(Page[Model]))

    @endpoint
    def retrieve(self, ref: str) -> Call[Model]:
        """The version that a reference means now."""
        return Call("GET", path("/v1/models/{}", ref), as_model(Model))

    @endpoint
    def delete(self, ref: str) -> Call[Deleted]:
        """Delete a model with all its versions, or (`name:3`) one version."""
        return Call("DELETE", path("/v1/models/{}", ref), as_model(Deleted))

    @endpoint
    def versions(self, name: str) -> Call[Page[Model]]:
        """All versions of a model."""
        return Call("GET", path("/v1/models/{}/versions", name), as_model(Page[Model]))

    @endpoint
    def set_alias(self, name: str, alias: str, version: int) -> Call[Alias]:
        """Move an alias to a version; moving `live` back is a rollback."""
        url = path("/v1/models/{}/aliases/{}", name, alias)
        return Call("PUT", url, as_model(Alias), json={"version": version})

    @endpoint
    def delete_alias(self, name: str, alias: str) -> Call[Deleted]:
        """Remove an alias."""
        return Call("DELETE", path("/v1/models/{}/aliases/{}", name, alias), as_model(Deleted))

    @endpoint
    def add_examples(
        self,
        name: str,
        examples: Iterable[Labelled],
        *,
        backbone: str | None = None,
        method: str | None = None,
        modality: ModalityName | None = None,
        task: TaskName | None = None,
        wait: float | None = None,
    ) -> Call[Taught]:
        """Examples in, model out: store, fine-tune, and answer once it serves, or after `wait` seconds.

        `backbone`, `method`, `modality` and `task` are of use with the first examples; later ones follow.
        """
        return Call(
            "POST",
            path("/v1/models/{}/examples", name),
            as_model(Taught),
            params={"backbone": backbone, "method": method, "modality": modality, "task": task},
            headers=prefer(wait),
            repeatable=False,
            wait=wait or 0.0,
            **examples_body(examples),
        )


class Backbones(Resource[D]):
    """`/v1/backbones`."""

    @endpoint
    def list(self) -> Call[Page[Backbone]]:
        """Every backbone of the service."""
        return Call("GET", "/v1/backbones", as_model(Page[Backbone]))

    @endpoint
    def retrieve(self, backbone_id: str) -> Call[Backbone]:
        """One backbone."""
        return Call("GET", path("/v1/backbones/{}", backbone_id), as_model(Backbone))
