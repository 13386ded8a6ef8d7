"""`audio-tokenize`, and `python -m audio_tokenize`."""

from audio_data import run_command_line


def main() -> None:
    """Run the command line."""
    run_command_line("audio_tokenize.cli")


if __name__ == "__main__":
    main()
