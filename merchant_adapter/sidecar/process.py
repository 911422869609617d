"""One sidecar put together: its routes and figures, the watch over the hub, and the dispatcher."""

import socket
from collections.abc import Sequence

from merchant_adapter.outbox.dispatcher import TAKE_OVER_SECONDS, Dispatcher, Progress
from merchant_adapter.outbox.policy import RetryPolicy
from merchant_adapter.sidecar.app import create_app
from merchant_adapter.sidecar.context import Context, Mounted
from merchant_adapter.sidecar.hub_watch import HubWatch
from merchant_adapter.sidecar.metrics import Metrics
from merchant_adapter.sidecar.server import serve


async def run(
    context: Context,
    listening: socket.socket,
    *,
    token: str = "",
    mounts: Sequence[Mounted] = (),
    policy: RetryPolicy | None = None,
    take_over_seconds: float = TAKE_OVER_SECONDS,
) -> None:
    """Serves until the context is `stopping`. `token` and `mounts` as for `create_app`; raises what `serve` raises."""
    watch, metrics = HubWatch(context.hub), Metrics()

    def came_further(progress: Progress) -> None:
        metrics.settled(progress)
        watch.heard(progress)

    dispatcher = Dispatcher(
        context.outbox,
        context.hub,
        policy=policy,
        on_progress=came_further,
        take_over_seconds=take_over_seconds,
    )
    app = create_app(context, watch=watch, metrics=metrics, token=token, mounts=mounts)
    work = [watch.run, *(one for mount in mounts for one in mount.work)]
    await serve(app, dispatcher, listening, context.stopping, work=work)
