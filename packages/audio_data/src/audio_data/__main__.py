"""`audio-data`, and `python -m audio_data`."""

from audio_data.command_line import run_command_line


def main() -> None:
    """Run the command line."""
    run_command_line("audio_data.cli")


if __name__ == "__main__":
    main()
