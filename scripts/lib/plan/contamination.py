"""Which questions are looked for in what is trained on, and what is left out for them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scripts.lib.artifacts.graph import Graph
from scripts.lib.config.benchmarks import Benchmark
from scripts.lib.config.load import Config
from scripts.lib.plan.sources import Place


@dataclass(frozen=True)
class Contamination:
    """The benchmarks of a config, as they are looked for in conversations."""

    graph: Graph
    config: Config
    benchmarks: Mapping[str, Place]

    def find(self, chat: str, label: str) -> str | None:
        """Add the search for a benchmark's questions in a dataset; return its id.

        None where the benchmark asks what this very dataset holds out: its splits are cut by
        content, so that equal conversations stand on one side.

        Args:
            chat: The conversations.
            label: Name of the benchmark.
        """
        benchmark, place = self.config.benchmarks[label], self.benchmarks[label]
        formatted = self.graph.artifacts[chat].reads.get("chat", (chat,))
        if place.id in formatted:
            return None
        return self.graph.add(
            "contamination",
            f"{self.graph.artifacts[chat].slug}-{place.slug}",
            {
                "kind": benchmark.kind,
                "subject": _split(benchmark),
                **self.config.contamination.model_dump(),
            },
            reads={"chat": chat, "benchmark": place.id},
            kinds=(benchmark.kind,),
        )

    def to_train_on(self, chat: str, on_contamination: str) -> str:
        """Return the conversations to train on: all, or those without a benchmark's question.

        Args:
            chat: All conversations of a dataset.
            on_contamination: As the run says.
        """
        if on_contamination == "report":
            return chat
        # Neither the names of benchmarks nor their order count.
        found = sorted({id for _, ids in self.searches((chat,)) for id in ids})
        if not found:
            return chat
        reads = {"chat": chat, "searches": found}
        return self.graph.add("decontaminated", self.graph.artifacts[chat].slug, {}, reads=reads)

    def searches(self, chats: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each benchmark with the searches for it in all that something is trained on."""
        for label in self.config.benchmarks:
            found = (self.find(chat, label) for chat in chats)
            yield label, tuple(dict.fromkeys(id for id in found if id))


def _split(benchmark: Benchmark) -> str | None:
    asked = benchmark.held_out_split()
    return asked[1] if asked else None
