"""The command `neuron-atlas`: options to settings, errors to exit codes, and nothing else."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, FolderError, InputError, JobError, SettingsError
from atlas.options import read_toml
from atlas.settings import OPERATIONAL, PLACES, RUNNING, Settings, from_mapping
from atlas.store import seal
from atlas.types import SIDES
from atlas.words.settings import WordsSettings
from jobs import shown, stages
from jobs.flags import add_options
from jobs.serving import add_probe, add_serve, probe, serve

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. 0 done; 1 a check found something wrong; 2 wrong input; 3 stopped part-way; 130 interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    with shown.safely():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    """The command's exit code; what went wrong is said in one line."""
    try:
        return int(options.run(options))
    except InputError as error:
        return _stop(error, 2)
    except JobError as error:
        return _stop(error, 3)
    except FolderError as error:
        return _stop(error, 2)
    except AtlasError as error:
        return _stop(error, 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _stop(JobError(f"{error}; mend the cause, then run the same command again to go on"), 3)
    except SystemExit as error:
        return _stop(JobError(f"code of the network ended the command (SystemExit: {error.code}); mend it"), 3)
    except KeyboardInterrupt:
        print("neuron-atlas: interrupted; the same command goes on", file=sys.stderr)
        return 130


def _stop(error: AtlasError, code: int) -> int:
    print(f"neuron-atlas: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neuron-atlas", description="What each neuron of a convolutional network sees, over a whole data set."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Command, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        return sub

    build = command("build", _build, "the main job: from images and a network to a sealed atlas")
    add_options(build, Settings)
    build.add_argument("--plan", action="store_true", help="say what would be done, with predicted time; write nothing")
    build.add_argument(
        "--restart", action="store_true",
        help="remove what a build made in --out, with its parts, and nothing else; then build anew",
    )  # fmt: skip
    build.add_argument("--config", metavar="FILE.toml", help="a file with the same names as keys; flags win")
    _add_parts(command("add", _add, "a part of a sealed atlas: made later, with its own tables, pictures and seal"))
    demo = command("demo", _demo, "train a small network on handwritten digits, build, verify and serve its atlas")
    demo.add_argument("--out", default="demo-atlas", help="folder of the atlas (default: %(default)s)")
    demo.add_argument("--port", type=int, default=8000, help="port to serve at (default: %(default)s)")
    demo.add_argument("--no-serve", action="store_true", help="stop once the atlas is built and verified")
    info = command("info", _info, "what an atlas is")
    info.add_argument("dir", help="folder of a sealed atlas")
    layers = command("layers", _layers, "layers of an atlas or of a network, with shapes and fields")
    layers.add_argument("dir", nargs="?", help="folder of a sealed atlas")
    layers.add_argument("--network", help="torchvision name, timm:NAME or FILE.py:FACTORY, instead of a folder")
    add_options(layers, Settings, ("crop", "channels", "output", "no_classes"), otherwise="the network's own")
    verify = command("verify", _verify, "checksums, counts, references, order, of the atlas and of each part")
    verify.add_argument("dir", help="folder of a sealed atlas")
    verify.add_argument(
        "--replay",
        type=int,
        default=0,
        metavar="N",
        help="run N examples again from the original files, and N rows of each part",
    )
    _add_places(verify)
    said: set[str] = set()
    for stage in stages.parts():
        kind = stage.options_class()
        names = [each.name for each in fields(kind) if each.metadata["contents"] and each.name not in said]
        add_options(verify, kind, names, otherwise="not checked") if names else None
        said |= set(names)
    query = command("query", _query, "DuckDB over the tables by name")
    query.add_argument("dir", help="folder of a sealed atlas")
    query.add_argument("sql", help="for example: SELECT layer, count(*) FROM neurons GROUP BY layer")
    query.add_argument("--format", choices=("table", "csv", "json", "arrow"), default="table", help="default: table")
    query.add_argument(
        "--memory", metavar="SIZE", help="what it may take, as 500MB (default: $NEURON_ATLAS_MEMORY or 2GB)"
    )
    neighbours = command("neighbours", _neighbours, "nearest images by code")
    neighbours.add_argument("dir", help="folder of a sealed atlas")
    neighbours.add_argument("image_id", type=int, help="image to start from")
    neighbours.add_argument("-k", type=int, default=10, help="how many (default: %(default)s)")
    find = command("find", _find, "neurons by words, the best on held-out images first (part words)")
    find.add_argument("dir", help="folder of a sealed atlas with the part words")
    find.add_argument("words", help='words, or a formula: "dog AND NOT terrier"')
    find.add_argument("-k", type=int, default=20, help="how many (default: %(default)s)")
    add_options(find, WordsSettings, ("encoder",), otherwise="concept words alone")
    picture = command("picture", _picture, "a sheet for a paper or a slide")
    picture.add_argument("dir", help="folder of a sealed atlas")
    kinds = ("neuron", "layer", "tsne-grid", "connections")
    picture.add_argument("--kind", choices=kinds, required=True, help="what to draw")
    picture.add_argument("--layer", help="layer, for neuron, layer and connections")
    picture.add_argument("--channel", type=int, help="channel, for neuron and connections")
    picture.add_argument("--side", choices=SIDES, default="max", help="side of the examples (default: %(default)s)")
    picture.add_argument("--pictures", default="crop", help="columns of pictures, for example crop,deconvnet,guided")
    picture.add_argument("--cell", type=int, help="side of one picture on the sheet, in pixels")
    picture.add_argument("-o", "--output", required=True, metavar="FILE.png", help="file to write")
    extend = command("extend", _extend, "more images join an atlas, in a new one; scans only what is new")
    extend.add_argument("dir", help="folder of a sealed atlas")
    again = ("images", "out", "network", "weights", "class_names", *OPERATIONAL)
    add_options(extend, Settings, again, required=("images", "out"), otherwise="as the atlas was built")
    export = command("export", _export, "a static site that any file host serves")
    export.add_argument("dir", help="folder of a sealed atlas")
    export.add_argument("-o", "--output", required=True, metavar="SITE", help="folder to write, new or empty")
    export.add_argument("--no-pictures", action="store_true", help="leave out every pixel of the data")
    pack = command("pack", _pack, "one file to send, which serve, query and atlas.open read as it is")
    pack.add_argument("dir", help="folder of a sealed atlas")
    pack.add_argument("-o", "--output", required=True, metavar="FILE.tar", help="file to write")
    add_serve(command("serve", serve, "REST and pages over sealed atlases"))
    add_probe(command("probe", probe, "the process that holds the networks and answers about one's own images"))
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Where the originals lie now, and how work is shared out."""
    add_options(
        parser, Settings, ("images", "network", "weights", "class_names", *RUNNING), otherwise="as the atlas was built"
    )


def _add_parts(parser: argparse.ArgumentParser) -> None:
    """A command a part, with the options of the part."""
    parser.add_argument(
        "--list", nargs="?", const="", metavar="DIR", help="which parts there are; of DIR, what each will take or took"
    )
    commands = parser.add_subparsers(title="parts", dest="part", metavar="PART")
    for stage in stages.parts():
        sub = commands.add_parser(stage.name, help=stage.about, description=stage.about)
        sub.add_argument("dir", help="folder of a sealed atlas")
        if stage.several:
            sub.add_argument("--as", dest="as_name", metavar="NAME", help=f"its name, as in {stage.name}@NAME")
        add_options(sub, stage.options_class())
        _add_places(sub)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The places and running options among parsed ones."""
    return {name: getattr(options, name) for name in (*PLACES, *RUNNING) if hasattr(options, name)}


def _add(options: argparse.Namespace) -> int:
    if options.list is not None:
        from jobs.show import offered

        print(offered(options.list or None))
        return 0
    if options.part is None:
        raise SettingsError(f"add: expected a part, one of {', '.join(stage.name for stage in stages.parts())}")
    from jobs.add import add

    known = {each.name for each in fields(stages.part(options.part).options_class())}
    chosen = {name: value for name, value in vars(options).items() if name in known}
    digest = add(options.dir, options.part, getattr(options, "as_name", None), **_given(options), **chosen)
    print(f"{options.dir}: part {options.part} sealed, digest {digest}")
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    known = {f.name for f in fields(Settings)}
    given = {name: value for name, value in vars(options).items() if name in known}
    from_file = read_toml(options.config) if options.config else {}
    return from_mapping({**{k.replace("-", "_"): v for k, v in from_file.items()}, **given})


def _build(options: argparse.Namespace) -> int:
    settings = _settings(options)
    if options.plan:
        from jobs.predict import predict

        print(predict(settings))
        return 0
    from jobs.build import build

    digest = build(settings, restart=options.restart)
    print(f"{settings.out}: sealed, digest {digest}")
    return 0


def _extend(options: argparse.Namespace) -> int:
    from jobs.extend import extend

    changes = {f.name: getattr(options, f.name) for f in fields(Settings) if hasattr(options, f.name)}
    images, out = tuple(changes.pop("images")), changes.pop("out")
    print(f"{out}: sealed, digest {extend(options.dir, images, out, **changes)}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from jobs.demo import demo

    return demo(options.out, options.port, serve=not options.no_serve)


def _info(options: argparse.Namespace) -> int:
    import atlas
    from jobs.show import info

    print(info(atlas.open(options.dir)))
    return 0


def _layers(options: argparse.Namespace) -> int:
    from jobs import show

    if (options.dir is None) == (options.network is None):
        raise SettingsError("layers: expected either a folder or --network")
    if options.network:
        names = ("crop", "channels", "output", "no_classes")
        print(show.network_layers(options.network, **{n: getattr(options, n) for n in names if hasattr(options, n)}))
        return 0
    import atlas

    print(show.atlas_layers(atlas.open(options.dir)))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from jobs.verify import place_names, verify

    places = {name: getattr(options, name) for name in place_names() if hasattr(options, name)}
    return verify(options.dir, options.replay, **_given(options), **places)


def _query(options: argparse.Namespace) -> int:
    import atlas
    from jobs.show import query

    if options.memory is not None:
        os.environ["NEURON_ATLAS_MEMORY"] = options.memory
    query(atlas.open(options.dir), options.sql, options.format)
    return 0


def _picture(options: argparse.Namespace) -> int:
    from atlas.read import sheets
    from atlas.store.files import Folder

    folder = Folder(options.dir)
    seal.read_about(folder)
    sheet = sheets.draw(
        folder,
        options.kind,
        layer=options.layer,
        channel=options.channel,
        side=options.side,
        pictures=options.pictures.split(","),
        cell=options.cell,
    )
    Path(options.output).write_bytes(sheets.png(sheet))
    print(f"{options.output}: {sheet.width} x {sheet.height} pixels")
    return 0


def _export(options: argparse.Namespace) -> int:
    from api.export import export

    export(options.dir, options.output, pictures=not options.no_pictures)
    return 0


def _pack(options: argparse.Namespace) -> int:
    from atlas.read.pack import pack

    told = pack(options.dir, options.output)
    print(f"{options.output}: {told['files']} files, {told['bytes']:,} bytes")
    return 0


def _find(options: argparse.Namespace) -> int:
    import atlas
    from jobs.show import found

    print(found(atlas.open(options.dir), options.words, options.k, getattr(options, "encoder", None)))
    return 0


def _neighbours(options: argparse.Namespace) -> int:
    import atlas
    from jobs.show import neighbours

    print(neighbours(atlas.open(options.dir), options.image_id, options.k))
    return 0


if __name__ == "__main__":
    sys.exit(main())
