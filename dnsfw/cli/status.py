"""`dnsfw status`: how the running process is, on one page."""

from dnsfw.api.views import StatusView, from_json
from dnsfw.cli.asking import ApiOption, TokenOption, ask
from dnsfw.cli.ending import Listing, quiet_end
from dnsfw.cli.output import Format, FormatOption, print_value
from dnsfw.cli.status_page import page


def status(*, output: FormatOption = Format.TABLE, api: ApiOption = None, api_token_file: TokenOption = None) -> None:
    """Show how the running dnsfw is: is it ready, what it listens to, what is in force, which guards are on, what went wrong.

    Exit 0 whenever it answered, ready or not.
    """
    document = ask(api, api_token_file, "/v1/status")
    with quiet_end():
        if output is Format.TABLE:
            Listing().print(page(from_json(StatusView, document)))
        else:
            print_value(document, output)
