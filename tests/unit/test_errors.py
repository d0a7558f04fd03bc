"""Properties of the errors that a user can meet."""

import inspect
import re

from scripts.lib import errors


def test_the_tree_in_the_docstring_has_each_error_once_in_the_order_of_the_classes():
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    classes = [
        name
        for name, one in vars(errors).items()
        if inspect.isclass(one) and one is not errors.PipelineError
    ]
    assert drawn == classes
    assert all(getattr(errors, name).__bases__ == (errors.PipelineError,) for name in classes)
