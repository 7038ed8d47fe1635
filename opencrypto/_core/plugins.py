"""
Plugins: found by entry point, each loaded under guard, so that a broken one takes nobody down.

pluggy's own entry-point loader lets one ImportError stop all, and lets a misspelt hook pass in
silence until somebody asks; this loader does neither.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from opencrypto._hookimpl import PROJECT, hookimpl
from opencrypto._log import library_logger, log
from opencrypto.driver import SOFTWARE, Driver, driver_class
from opencrypto.exceptions import CryptoError, DriverUnavailable, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import pluggy

BLOCK_VARIABLE = "OPENCRYPTO_BLOCK"
"""Environment variable: names of plugins not to load, separated by commas."""


class Failure(NamedTuple):
    """A plugin, or a driver of one, that could not be had, and why."""

    name: str
    reason: str


class Plugins:
    """The plugins of one framework and what became of each."""

    def __init__(
        self, *, strict: Collection[str] | bool = False, blocked: Collection[str] = ()
    ) -> None:
        import pluggy  # and what it imports, which only a process with a framework needs

        from opencrypto import hookspecs

        library_logger()
        self.manager = pluggy.PluginManager(PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.failures: list[Failure] = []
        self._strict = strict
        self._blocked = {*blocked, *_blocked_by_environment()}

    def load(self, plugins: bool | Iterable[object]) -> None:
        """Load every installed plugin for True, none for False, or those given."""
        if plugins is True:
            self.discover()
        elif plugins is not False:
            self.add(plugins)

    def discover(self) -> None:
        """Load every plugin that an installed distribution declares, in the order of names."""
        for entry in _installed().values():
            self._guarded(entry.name, entry.load)

    def add(self, plugins: Iterable[object]) -> None:
        """Register plugins given as objects, or as names of entry points."""
        for plugin in plugins:
            if isinstance(plugin, str):
                self._guarded(plugin, _entry_point(plugin).load)
            else:
                self._guarded(_plugin_name(plugin), functools.partial(_itself, plugin))

    def _guarded(self, name: str, load: Callable[[], object]) -> None:
        if name in self._blocked:
            self._fail(name, "blocked by configuration")
            return
        try:
            self._register(name, load())
        except DriverUnavailable as error:
            self._fail(name, error.reason)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() at import, a panic of an extension module
            self._fail(name, f"{type(error).__name__}: {error}", error)

    def _register(self, name: str, plugin: object) -> None:
        if isinstance(plugin, type):
            plugin = plugin()
        if isinstance(plugin, Driver):
            plugin = _offer(plugin)
        self.manager.register(plugin, name)
        try:
            _refuse_misspelt(self.manager, plugin)
        except UsageError:
            self.manager.unregister(plugin)
            raise

    def _fail(self, name: str, reason: str, error: BaseException | None = None) -> None:
        self.failures.append(Failure(name, reason))
        if error is None:
            return
        log.warning("plugin_failed", plugin=name, reason=reason)
        if self._is_strict(name):
            if isinstance(error, Exception):
                raise error
            # Not itself: what would end the program is no more than a plugin that failed.
            raise UsageError(f"plugin {name} failed: {reason}") from error

    def note(self, name: object, error: BaseException) -> None:
        """List a driver that was offered and could not be attached."""
        if isinstance(error, CryptoError):
            reason = error.strerror
        else:
            reason = f"{type(error).__name__}: {error}"
        self._fail(str(name), reason or "", error)

    def _is_strict(self, name: str) -> bool:
        return self._strict if isinstance(self._strict, bool) else name in self._strict

    def drivers(self) -> list[Driver]:
        """Ask each plugin for its drivers; order them by class and name, never by load order."""
        offered: list[Driver] = []
        for name, plugin in self.manager.list_name_plugin():
            others = [p for _, p in self.manager.list_name_plugin() if p is not plugin]
            hook = self.manager.subset_hook_caller("opencrypto_drivers", others)
            try:
                for driver in itertools.chain.from_iterable(hook()):
                    if not isinstance(driver, Driver):
                        raise UsageError(f"offers {type(driver).__name__}, which is no Driver")
                    offered.append(driver)
            except DriverUnavailable as error:
                self._fail(name, error.reason)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._fail(name, f"{type(error).__name__}: {error}", error)
        return sorted(offered, key=_place)

    def observers(self) -> Observers:
        """Resolve who observes what."""
        return Observers(self.manager)


def _place(driver: Driver) -> tuple[int, str]:
    # Before anything was checked: a driver with wrong flags or a wrong name gets a place too, and
    # is refused when it is attached.
    flags: object = driver.flags
    return driver_class(flags) if isinstance(flags, int) else SOFTWARE, str(driver.name)


def _offer(driver: Driver) -> object:
    """Make the plugin that a bare driver class or instance amounts to."""

    class Offer:
        @hookimpl
        def opencrypto_drivers(self) -> list[Driver]:
            return [driver]

    return Offer()


class Observers:
    """
    The events that plugins observe, as plain callables.

    An event that nobody observes costs one call of an empty function. An observer that raises is
    logged, and stops nothing.
    """

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self.attached = _event(manager, "opencrypto_attached", ("hid", "name"))
        self.detached = _event(manager, "opencrypto_detached", ("hid", "name"))
        self.newsession = _event(manager, "opencrypto_newsession", ("sid", "driver"))
        self.migrated = _event(manager, "opencrypto_migrated", ("sid", "new_sid"))
        self.blocked = _event(manager, "opencrypto_blocked", ("hid", "what"))
        self.unblocked = _event(manager, "opencrypto_unblocked", ("hid", "what"))


def _event(manager: pluggy.PluginManager, name: str, words: tuple[str, ...]) -> Callable[..., None]:
    hook = getattr(manager.hook, name)
    if not hook.get_hookimpls():
        return _unobserved

    def notify(*values: Any) -> None:
        try:
            hook(**dict(zip(words, values, strict=True)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            log.error("observer_failed", hook=name, error=type(error).__name__)

    return notify


def _unobserved(*_: Any) -> None:
    """Do nothing: nobody observes this event."""


def _refuse_misspelt(manager: pluggy.PluginManager, plugin: object) -> None:
    callers = manager.get_hookcallers(plugin) or []
    unknown = sorted(caller.name for caller in callers if not caller.has_spec())
    if unknown:
        raise UsageError(
            f"implements {', '.join(unknown)}, which is no hook (see opencrypto.hookspecs)"
        )
    if not callers:
        raise UsageError("implements no hook; mark its functions with @opencrypto.hookimpl")


def _blocked_by_environment() -> set[str]:
    return {name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",") if name.strip()}


def _installed() -> dict[str, EntryPoint]:
    """Find the plugins that installed distributions declare, in the order of their names."""
    from importlib.metadata import entry_points  # as heavy as the framework itself

    found = sorted(entry_points(group=PROJECT), key=lambda entry: entry.name)
    return {entry.name: entry for entry in found}


def _entry_point(name: str) -> EntryPoint:
    installed = _installed()
    if name not in installed:
        known = ", ".join(installed) or "none"
        raise UsageError(f"no plugin {name!r} is installed (installed: {known})")
    return installed[name]


def _plugin_name(plugin: object) -> str:
    name = getattr(plugin, "name", None) or getattr(plugin, "__name__", None)
    return str(name or type(plugin).__name__)


def _itself(plugin: object) -> object:
    return plugin
