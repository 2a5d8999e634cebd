"""Random Mean Scaling beside the plain way of writing it and beside scaling alone."""


def run(json_path: str | None) -> None:
    pass
