import pytest

pytest.importorskip("gradio", reason="gradio is not installed")
