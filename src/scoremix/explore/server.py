"""The page served on this machine alone: loopback, no telemetry, nothing asked of any other host."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoremix.explore.opened import OpenedRun

HOST = "127.0.0.1"
# what a browser may load: this server's own files; Gradio compiles its templates in the page
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
QUIET = {  # read by Gradio and the library below it when they are imported
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_SERVER_NAME": HOST,
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_EXPERIMENTAL_WARNING": "1",
    "DO_NOT_TRACK": "1",
}


COLOURS = {  # of Gradio's own parts, with the contrast that text needs
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_400",
    "input_placeholder_color": "*neutral_600",
    "input_placeholder_color_dark": "*neutral_400",
    "color_accent": "*primary_700",
}


class Guarded:
    """ASGI: answers calls to this machine's names alone, and tells the browser to load nothing from elsewhere."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").rpartition(":")[0]
        if host not in (HOST, "localhost"):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"only this machine is answered\n"})
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                policies = [(b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer")]
                message = {**message, "headers": [*message.get("headers", []), *policies]}
            await send(message)

        await self.app(scope, receive, guarded)


@contextmanager
def served(run: OpenedRun, port: int = 0) -> Iterator[str]:
    """Serves the page while the block runs, at a free port by default; yields its address.

    Uploads lie in a folder of their own that is gone afterwards. ConfigError where the port is taken.
    """
    from scoremix.config import ConfigError

    with tempfile.TemporaryDirectory(prefix="scoremix-explore-") as folder:
        os.environ.update(QUIET, GRADIO_TEMP_DIR=folder)
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = f"{HOST},localhost"
        import gradio as gr
        from starlette.middleware import Middleware

        from scoremix.explore import tabs, view

        with gr.Blocks(title=f"scoremix: {run.exp.name}", analytics_enabled=False) as blocks:
            gr.HTML(view.piece("head", name=run.exp.name, verdict=run.verdict))
            with gr.Tab("Mix"):
                tabs.mix_tab(run, blocks)
            with gr.Tab("m-plets"):
                tabs.mplets_tab(run, blocks)
            with gr.Tab("Classes"):
                tabs.classes_tab(run, blocks)
            with gr.Tab("Upload"):
                tabs.upload_tab(run)
        fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif"]
        try:
            _, address, _ = blocks.launch(
                server_name=HOST,
                server_port=port or None,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                max_file_size=tabs.LARGEST,
                app_kwargs={"middleware": [Middleware(Guarded)]},
                theme=gr.themes.Base(primary_hue="blue", font=fonts, font_mono=["ui-monospace", "monospace"]).set(
                    **COLOURS
                ),
                css=view.css(),
            )
        except OSError:
            raise ConfigError(f"--port {port}: is taken by another program; 0, the default, takes a free one") from None
        try:
            yield address
        finally:
            blocks.close(verbose=False)
