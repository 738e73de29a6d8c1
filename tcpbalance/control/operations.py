"""All operations of the admin side."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Protocol

from tcpbalance.control.affinity_handlers import AffinityHandlers
from tcpbalance.control.backend_handlers import BackendHandlers
from tcpbalance.control.ban_handlers import BanHandlers
from tcpbalance.control.config_handlers import ConfigHandlers
from tcpbalance.control.controls import Controls
from tcpbalance.control.dashboard_files import DashboardHandler
from tcpbalance.control.debug_handlers import DebugHandlers
from tcpbalance.control.description_handler import DescriptionHandler
from tcpbalance.control.event_handlers import EventHandlers
from tcpbalance.control.explain_handlers import ExplainHandlers
from tcpbalance.control.handlers import Handlers
from tcpbalance.control.health_handlers import HealthHandlers
from tcpbalance.control.log_handlers import LogHandlers
from tcpbalance.control.long_answers import LongAnswers
from tcpbalance.control.metrics import MetricsHandler
from tcpbalance.control.routes import ApiRoute, ApiRoutes
from tcpbalance.control.running_config import RunningConfigHandler
from tcpbalance.control.session_handlers import SessionHandlers
from tcpbalance.control.shared_views import SharedViews


class HasRoutes(Protocol):
    """Serves some operations."""

    def routes(self) -> list[ApiRoute]:
        """Give them."""
        ...


def operations(controls: Controls, about: Mapping[str, Any]) -> ApiRoutes:
    """Give what there is to ask for.

    :param about: see ``Handlers``.
    """
    long_answers = LongAnswers(monotonic)
    views = SharedViews(controls, long_answers)
    handlers: list[HasRoutes] = [
        Handlers(controls, views, about),
        AffinityHandlers(controls),
        BanHandlers(controls),
        BackendHandlers(controls),
        ConfigHandlers(controls),
        DashboardHandler(),
        DebugHandlers(controls),
        DescriptionHandler(about),
        EventHandlers(controls.events),
        ExplainHandlers(controls, long_answers),
        HealthHandlers(controls),
        LogHandlers(controls),
        MetricsHandler(views, about),
        RunningConfigHandler(controls, long_answers),
        SessionHandlers(controls, long_answers),
    ]
    return ApiRoutes(route for its in handlers for route in its.routes())
