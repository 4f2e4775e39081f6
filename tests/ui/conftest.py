import importlib.util

if importlib.util.find_spec("gradio") is None:
    collect_ignore_glob = ["test_*.py"]  # the page is an extra
