"""`python -m attnlab`, and the script `attnlab`."""

import signal


def main() -> None:
    """The command line. While its modules are imported, Ctrl-C ends the process as it ends any other, and prints nothing."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started it has it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from attnlab.cli import main

    main()


if __name__ == "__main__":
    main()
