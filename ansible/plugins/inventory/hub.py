"""An inventory of gateways, read from the hub's API."""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from ansible.errors import AnsibleParserError
from ansible.module_utils.urls import open_url
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

DOCUMENTATION = """
  name: hub
  short_description: Gateways as a Millwright hub knows them
  version_added: 0.1.0
  author: Millwright
  description:
    - Reads every gateway that the hub has seen, or that somebody has labelled there, from C(/api/v1/inventory).
    - "Groups: O(group) with all of them; C(site_NORTH) by the label that O(site_label) names;
      C(label_LINE_3) by every label; C(model_PUMP_VIBRATION_2_0_0) by the model that decides in each slot;
      C(health_OFFLINE) by how each stands, one of C(ok), C(warming_up), C(warn), C(alarm), C(offline), C(unseen) and
      C(revoked). Characters that groups may not have become underscores; names are in the case that the hub has them."
    - "Variables of each host: C(millwright_gateway), C(millwright_health), C(millwright_online),
      C(millwright_last_seen_s), C(millwright_agent_version), C(millwright_runtime), C(millwright_time_zone),
      C(millwright_labels), C(millwright_slots), C(millwright_machines) and C(millwright_certificate_s)."
    - The file that configures it must end with C(millwright.yml) or C(millwright.yaml).
  options:
    plugin:
      description: Says that a file is meant for this plug-in.
      required: true
      choices: [millwright.fleet.hub]
    url:
      description: Where the hub is, for instance C(https://hub.plant:8443).
      type: str
      required: true
      env:
        - name: MILLWRIGHT_HUB_URL
    token:
      description:
        - An API token with the scope C(fleet:read), from C(cloud-hub token create).
        - Better in the environment or in O(token_file) than in a file that others read.
      type: str
      env:
        - name: MILLWRIGHT_HUB_TOKEN
    token_file:
      description: A file that holds the token and nothing else. Relative to the configuration file.
      type: str
      env:
        - name: MILLWRIGHT_HUB_TOKEN_FILE
    ca_file:
      description:
        - The root certificate of the plant, PEM, which the hub's certificate is verified with.
        - Relative to the configuration file. Without it the system's authorities are asked.
      type: str
      env:
        - name: MILLWRIGHT_HUB_CA_FILE
    timeout:
      description: Seconds to wait for each answer.
      type: int
      default: 15
    page_size:
      description: How many gateways to ask for at once, 1 to 500.
      type: int
      default: 500
    max_gateways:
      description: More than this many are refused rather than read on and on.
      type: int
      default: 20000
    group:
      description: The group that all gateways are in.
      type: str
      default: millwright_gateways
    site_label:
      description: The label that says at which site a gateway is.
      type: str
      default: site
  extends_documentation_fragment:
    - constructed
    - inventory_cache
"""

EXAMPLES = r"""
# fleet.millwright.yml
plugin: millwright.fleet.hub
url: https://hub.plant:8443
token_file: secrets/hub-token
ca_file: secrets/plant-root.pem
compose:
  ansible_host: millwright_labels.address | default(inventory_hostname ~ '.plant')
keyed_groups:
  - key: millwright_agent_version
    prefix: agent
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: .cache/inventory
cache_timeout: 300
"""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_PAGE = 500
_MAX_PAGE_BYTES = 32 * 2**20
_MAX_TOKEN_CHARS = 500
_WHY: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the token is unknown, expired or revoked (`cloud-hub token list`)",
    HTTPStatus.FORBIDDEN: "the token lacks the scope fleet:read",
    HTTPStatus.NOT_FOUND: "no inventory there: is this a hub, and new enough?",
}
# Name of the variable -> member of the hub's answer.
_VARIABLES = {
    "millwright_gateway": "id",
    "millwright_health": "standing",
    "millwright_online": "online",
    "millwright_last_seen_s": "last_seen_s",
    "millwright_agent_version": "agent_version",
    "millwright_runtime": "runtime",
    "millwright_time_zone": "time_zone",
    "millwright_labels": "labels",
    "millwright_slots": "slots",
    "millwright_machines": "machines",
    "millwright_certificate_s": "certificate_s",
}


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The plug-in. What the hub says is data: nothing of it is ever a template."""

    NAME = "millwright.fleet.hub"

    def verify_file(self, path: str) -> bool:
        """Whether a file is meant for us, by its name."""
        return bool(super().verify_file(path)) and path.endswith(("millwright.yml", "millwright.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:  # noqa: ANN401, FBT002 - Ansible's
        """Fill the inventory."""
        super().parse(inventory, loader, path)
        self._read_config_data(path)
        key = self.get_cache_key(path)
        kept = self.get_option("cache")
        items = self._cache.get(key) if kept and cache else None
        if items is None:
            items = list(self._fetch(Path(path).parent))
            if kept:
                self._cache[key] = items
        for item in items:
            self._add(item)

    def _add(self, item: Mapping[str, Any]) -> None:
        name = item["id"]
        self.inventory.add_host(name)
        for variable, member in _VARIABLES.items():
            self.inventory.set_variable(name, variable, item[member])
        groups = [self.get_option("group"), f"health_{item['standing']}"]
        groups += [f"label_{label}_{value}" for label, value in item["labels"].items()]
        groups += [f"model_{slot['slot']}_{slot['version']}" for slot in item["slots"] if slot["version"] is not None]
        site = item["labels"].get(self.get_option("site_label"))
        if site is not None:
            groups.append(f"site_{site}")
        for group in groups:
            self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), name)
        strict = self.get_option("strict")
        facts = self.inventory.get_host(name).get_vars()
        self._set_composite_vars(self.get_option("compose"), facts, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), {}, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), {}, name, strict=strict)

    def _fetch(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Every gateway, page by page. Raises: AnsibleParserError."""
        url = self.get_option("url").rstrip("/")
        if urlsplit(url).scheme != "https" or not urlsplit(url).hostname:
            raise AnsibleParserError(
                f"url: expected https://HOST[:PORT], got {url!r}: a token goes nowhere unencrypted"
            )
        size, most = self.get_option("page_size"), self.get_option("max_gateways")
        if not 1 <= size <= _MAX_PAGE:
            raise AnsibleParserError(f"page_size: expected 1 to {_MAX_PAGE}, got {size}")
        token, authority = self._token(folder), self._ca_file(folder)
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            query = {"limit": str(size), **({"cursor": cursor} if cursor is not None else {})}
            where = f"{url}/api/v1/inventory"
            items, cursor = _page(self._ask(f"{where}?{urlencode(query)}", token, authority), where)
            for item in items:
                if item["id"] in seen:
                    raise AnsibleParserError(f"{where}: gateway {item['id']!r} came twice")
                seen.add(item["id"])
                if len(seen) > most:
                    raise AnsibleParserError(f"{where}: more than max_gateways = {most} gateways")
                yield item
            if cursor is None:
                return
            if not items:
                raise AnsibleParserError(f"{where}: an empty page that is not the last one")

    def _token(self, folder: Path) -> str:
        text, file = self.get_option("token"), self.get_option("token_file")
        if file and not text:
            path = folder / Path(file).expanduser()
            try:
                text = path.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise AnsibleParserError(f"token_file: {error}") from error
        if not text:
            raise AnsibleParserError("token, token_file or MILLWRIGHT_HUB_TOKEN: expected an API token, got none")
        if len(text) > _MAX_TOKEN_CHARS or not text.isascii() or not text.isprintable() or " " in text:
            raise AnsibleParserError(f"token: expected one word of ASCII, got {len(text)} characters that are none")
        return str(text)

    def _ca_file(self, folder: Path) -> str | None:
        file = self.get_option("ca_file")
        if not file:
            return None
        path = folder / Path(file).expanduser()
        if not path.is_file():
            raise AnsibleParserError(f"ca_file: there is no file {path}")
        return str(path)

    def _ask(self, address: str, token: str, authority: str | None) -> bytes:
        """One answer's body. A redirection is an error: the token is for this host alone."""
        try:
            with open_url(
                address,
                headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
                timeout=self.get_option("timeout"),
                ca_path=authority,
                follow_redirects="none",
                http_agent="millwright.fleet.hub",
            ) as answer:
                body: bytes = answer.read(_MAX_PAGE_BYTES + 1)
        except urllib.error.HTTPError as error:
            why = _WHY.get(error.code) or error.reason
            raise AnsibleParserError(f"{address}: the hub answered {error.code}: {why}") from error
        except (OSError, ValueError) as error:  # URLError, SSLError and time-outs are OSErrors
            reason = getattr(error, "reason", error)
            hint = ""
            if isinstance(reason, ssl.SSLCertVerificationError):
                hint = f" (verified with {authority or 'the authorities of this system'}; is ca_file the plant's root?)"
            raise AnsibleParserError(f"{address}: the hub cannot be reached: {reason}{hint}") from error
        if len(body) > _MAX_PAGE_BYTES:
            raise AnsibleParserError(
                f"{address}: a page of more than {_MAX_PAGE_BYTES} bytes; ask for a smaller page_size"
            )
        return body


def _page(body: bytes, where: str) -> tuple[list[dict[str, Any]], str | None]:
    """The gateways of one page, and where the next one begins. Raises: AnsibleParserError: it is none."""
    try:
        page = json.loads(body)
    except ValueError as error:
        raise AnsibleParserError(f"{where}: expected JSON, got {body[:60]!r}") from error
    items = page.get("items") if isinstance(page, dict) else None
    cursor = page.get("next") if isinstance(page, dict) else None
    if not isinstance(items, list) or not isinstance(cursor, str | None):
        raise AnsibleParserError(f"{where}: expected an object with `items` and `next`, got {body[:60]!r}")
    for item in items:
        _check(item, where)
    return items, cursor


def _check(item: object, where: str) -> None:
    """Raises: AnsibleParserError: not a gateway as the hub describes it."""
    if not isinstance(item, dict) or not _ID.fullmatch(str(item.get("id"))):
        raise AnsibleParserError(f"{where}: expected a gateway with an id, got {str(item)[:80]}")
    if missing := [member for member in _VARIABLES.values() if member not in item]:
        raise AnsibleParserError(
            f"{where}: gateway {item['id']} has no {', '.join(missing)}: is the hub older than this?"
        )
    labels, slots = item["labels"], item["slots"]
    sound = isinstance(item["standing"], str) and isinstance(labels, dict) and isinstance(slots, list)
    if not sound or not all(isinstance(value, str) for value in labels.values()):
        raise AnsibleParserError(f"{where}: gateway {item['id']}: labels and slots are not as expected")
    for slot in slots:
        if not isinstance(slot, dict) or not isinstance(slot.get("slot"), str) or "version" not in slot:
            raise AnsibleParserError(
                f"{where}: gateway {item['id']}: expected a slot with a version, got {str(slot)[:80]}"
            )
