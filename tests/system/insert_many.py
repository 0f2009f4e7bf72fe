"""Run on the laboratory's node: put elements into the program's own map, one a transaction, and say how long each took.

The program will take them out again, for it does not know them.
"""

import asyncio
import json
import sys
import time
from ipaddress import ip_address

from system_kit import spread

from dnsfw.enforce.layout import Layout
from dnsfw.enforce.settings import EnforceSettings
from nft.changes import Add
from nft.netlink import RealKernel


async def main(pod: str, count: int) -> None:
    layout, kernel = Layout(EnforceSettings()), await RealKernel.open()
    grants = layout.v4.port
    standing = sum(len(kernel.read_elements(of)) for of in (layout.v4.port, layout.v6.port))
    source, took = ip_address(pod).packed, []
    for number in range(count):
        key = source + (0xC6330000 + number).to_bytes(4) + b"\x06\0\0\0" + b"\x01\xbb\0\0"
        begun = time.perf_counter()
        kernel.commit([Add(grants, key, 1 << 16, 2000)])
        took.append((time.perf_counter() - begun) * 1e6)
    await kernel.close()
    json.dump({"elements": standing, "insert_us": spread(took)}, sys.stdout)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
