"""How an attack shows how far it is."""

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.evaluation.progress_bar import progress_bar


class AttackProgress:
    """A bar with survivors and time left, on a terminal or in a notebook; one line elsewhere."""

    def __init__(self, attack: Attack, *, shown: bool):
        """Begins with nothing attacked."""
        self._attack = attack
        self._shown = shown
        self._standing = 0

    def __enter__(self) -> "AttackProgress":
        self._bar = progress_bar(desc=self._attack.name, unit="img", shown=self._shown)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        without_bar = self._bar.disable
        self._bar.close()
        if self._shown and without_bar and kind is None:
            print(f"{self._attack.name}: {self._standing} images withstood it", flush=True)

    def begin(self, restart: int, standing: int) -> None:
        """A restart begins with `standing` images; those to come have as many at most."""
        self._standing = standing
        self._bar.total = self._bar.n + standing * (self._attack.restarts - restart)

    def advance(self, attacked: int, standing: int) -> None:
        """`attacked` images are done; `standing` withstand the attack so far."""
        self._standing = standing
        self._bar.set_postfix(standing=standing, refresh=False)
        self._bar.update(attacked)
