"""What can go wrong, in words for people.

AtlasError                      any of these; `str()` is one line: the value, what was expected, how to mend it
├── InputError                  wrong input: exit 2, nothing was started, nothing was written
│   ├── NetworkError            the network, its weights, or a layer name
│   ├── SourceError             a source of images that cannot be listed
│   └── SettingsError           an option or a key of the settings file
├── JobError                    stopped part-way: exit 3, the same command goes on
│   └── DeviceMemoryError       the device's memory is too small for the batch
├── ImageError                  one image that cannot be used: a row of quarantine.parquet (`reason`, `detail`)
├── NotFoundError               a layer, neuron, image, class or picture that the atlas does not have
└── FolderError                 a folder that is not a sound atlas: it is refused by name
    ├── FormatError             an atlas of another format than this release reads
    ├── PictureError            a picture whose bytes are not what the tables say
    └── StoreError              a bucket that does not answer in time, or a cache that is too small; later it may work
"""

from __future__ import annotations


class AtlasError(Exception):
    """Any error of this package; `str()` is one line for people."""


class InputError(AtlasError):
    """Wrong input, found before any work starts."""


class NetworkError(InputError):
    """The network, its weights, or a layer name is not what was expected."""


class SourceError(InputError):
    """A source of images cannot be listed."""


class SettingsError(InputError):
    """An option has a value outside its range, or a settings file an unknown key."""


class JobError(AtlasError):
    """The job stopped part-way; the same command goes on from what is done."""


class DeviceMemoryError(JobError):
    """The device's memory is too small for the batch."""


class ImageError(AtlasError):
    """One image cannot be used. `reason` is a short word, `detail` one line."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        return (ImageError, (self.reason, self.detail))


class FolderError(AtlasError):
    """The folder is not a sealed atlas, or not a sound one."""


class FormatError(FolderError):
    """The folder is an atlas of another format."""


class NotFoundError(AtlasError):
    """The atlas has no such layer, neuron, image, class or picture."""


class PictureError(FolderError):
    """The bytes of a picture are not what the tables say."""


class StoreError(FolderError):
    """A bucket does not answer, or not in time; the same question may be answered later."""
