"""The promise every method keeps: what it remembers of a person, and what it asks of a backbone."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from slotid.types import Conditioning, FaceTrack, IdentityCode, Request, Stream

ToLatent = Callable[[Tensor], Tensor]  # (B, 3, T, H, W) in [-1, 1] -> normalised latent (B, C, T', h, w)


class Method:
    """Base of all methods; the defaults are those of a method that does nothing. Methods with weights are ``nn.Module`` too."""

    name = "none"
    version = 1
    says = "nobody in particular: the backbone alone"  # for a person who chooses
    trained = False  # True: needs weights of its own (an adapter folder)
    asks: tuple[str, ...] = ()  # fields of Conditioning that a backbone must understand
    crop_pixels = 128  # side of the face crops it wants to see
    ordered = False  # True: the order of the reference frames matters to the code

    def remember(self, face: FaceTrack, to_latent: ToLatent) -> IdentityCode:
        """Once per person."""
        return IdentityCode(self.name, self.version, {})

    def condition(
        self, code: IdentityCode, grid: tuple[int, int, int], strength: float = 1.0, slot_gain: tuple[float, ...] | None = None
    ) -> Conditioning:
        """Once per video. ``grid``: the latent's (T', h, w); ``strength``: 0 to 2."""
        return Conditioning()

    def streams(self, request: Request, text_guidance: float, identity_guidance: float) -> list[Stream]:
        """Weighted velocities of the guidance; the weights sum to 1. Default: text guidance alone."""
        from slotid.guidance import two_streams

        return two_streams(text_guidance)

    def refine(self, x0: Tensor, to_pixels: Callable[[Tensor], Tensor], t: float) -> Tensor:
        """May improve the estimated clean latent at each step; the default leaves it."""
        return x0

    def losses(self, view) -> dict[str, Tensor]:
        """Training losses beyond flow matching, by name; the default has none."""
        return {}
