"""How the fleet gets at its one budget actor."""

from __future__ import annotations

from typing import Any

from agent_actor.redis_client import open_redis
from fleet import ray_calls
from fleet.budget.actor import BudgetActor, BudgetConfig
from fleet.budget.book import BookConfig
from fleet.budget.export import CostExport
from fleet.budget.ledger import Ledger
from fleet.budget.policy import GrantPolicy
from fleet.budget.sums import Limits
from fleet.budget.thresholds import PPM
from fleet.budget.webhook import WebhookConfig
from fleet.forked import control_env
from fleet.ray_calls import ActorOptions
from fleet.settings import FleetSettings, usd_to_micro

BUDGET = "budget"


def budget_config(settings: FleetSettings) -> BudgetConfig:
    """Limits set here are the defaults; those set at run time stand in the ledger and win."""
    every = settings.study_limit_usd
    studies: dict[str, int | None] = {
        study: usd_to_micro(usd) for study, usd in settings.study_limits_usd.items()
    }
    webhook = _webhook(settings)
    fractions = tuple(sorted({int(f * PPM) for f in settings.budget_webhook_fractions}))
    return BudgetConfig(
        redis_url=settings.redis_url,
        redis_namespace=settings.redis_namespace,
        redis_timeout_s=settings.redis_timeout_s,
        book=BookConfig(
            policy=GrantPolicy(lease_s=settings.allowance_lease_s),
            limits=Limits(
                fleet=settings.fleet_limit_micro_usd,
                every_study=None if every is None else usd_to_micro(every),
                studies=studies,
            ),
            fractions_ppm=() if webhook is None else fractions,
        ),
        webhook=webhook,
    )


def _webhook(settings: FleetSettings) -> WebhookConfig | None:
    if settings.budget_webhook_url is None or settings.budget_webhook_secret is None:
        return None
    return WebhookConfig(url=settings.budget_webhook_url, secret=settings.budget_webhook_secret)


def open_cost_export(settings: FleetSettings) -> CostExport:
    """With a client of its own, which ``aclose`` closes."""
    redis = open_redis(settings.redis_url, timeout_s=settings.redis_timeout_s)
    return CostExport(Ledger(redis, settings.redis_namespace))


def get_or_create_budget_actor(settings: FleetSettings) -> Any:
    """The handle of the named, detached actor; made now if there was none."""
    options = ActorOptions(
        name=BUDGET,
        namespace=settings.ray_namespace,
        runtime_env=control_env(fork_server=settings.fork_server),
        resources=settings.control_resources,
        max_restarts=-1,
        # Every method may run twice, so what was under way at a restart is simply asked again.
        max_task_retries=-1,
        max_concurrency=10_000,
    )
    return ray_calls.get_or_create(BudgetActor, options, budget_config(settings))
