"""Channels of networks with recurrent layers: their inputs lose features, their states stay, and the row names them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sparsemark.errors import UnsupportedError
from sparsemark.networks.channel_plan import replay
from sparsemark.pruning import Request, prune
from sparsemark.pruning.output_layers import output_layers
from sparsemark.specs import PruneStep
from tests.pruning.pruned import parameters

IMAGE = (torch.randn(2, 1, 16, 8, generator=torch.Generator().manual_seed(0)),)
SERIES = (torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0)),)
STATE = 20


class Crnn(nn.Module):
    """Convolutions, the height squeezed away, a recurrent layer over the width in both directions."""

    def __init__(self, recurrent=nn.LSTM, **options):
        super().__init__()
        self.convs = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Conv2d(32, 24, (4, 1)),
        )
        self.rnn = recurrent(24, STATE, bidirectional=True, **options)
        self.head = nn.Linear(2 * STATE, 11)

    def forward(self, x):
        return self.head(self.rnn(self.convs(x).squeeze(2).permute(2, 0, 1))[0])


class Cell(nn.Module):
    """Features that are flattened into a cell, called twice."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2)),
        )
        self.cell, self.head = nn.LSTMCell(128, STATE), nn.Linear(STATE, 4)

    def forward(self, x):
        features = self.convs(x).flatten(1)
        return self.head(self.cell(features, self.cell(features))[0])


class Series(nn.Module):
    """Convolutions over time, and a head on the last state."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv1d(4, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 24, 3, padding=1))
        self.rnn, self.head = nn.GRU(24, STATE, batch_first=True), nn.Linear(STATE, 9)

    def forward(self, x):
        return self.head(self.rnn(self.convs(x).relu().transpose(1, 2))[1][-1])


class LearnedState(Series):
    def __init__(self):
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, STATE))

    def forward(self, x):
        x = self.convs(x).relu().transpose(1, 2)
        return self.head(self.rnn(input=x, hx=self.start.expand(-1, len(x), -1))[0])


class Projected(Series):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(24, 30, proj_size=STATE, batch_first=True)

    def forward(self, x):
        return self.head(self.rnn(self.convs(x).relu().transpose(1, 2))[0])


class Packed(Series):
    def forward(self, x):
        x = self.convs(x).relu().transpose(1, 2)
        lengths = torch.full((len(x),), x.shape[1])
        x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(nn.utils.rnn.pad_packed_sequence(self.rnn(x)[0], batch_first=True)[0])


class Caption(nn.Module):
    """One layer makes the state, another the input."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.state, self.word = nn.Linear(16, STATE), nn.Linear(16, 18)
        self.rnn, self.head = nn.GRU(18, STATE, batch_first=True), nn.Linear(STATE, 9)

    def forward(self, x):
        x = self.convs(x)
        return self.head(self.rnn(self.word(x)[:, None].expand(-1, 5, -1), self.state(x)[None])[0])


class Loop(nn.Module):
    """A cell in a loop, fed with its own state."""

    def __init__(self, cell):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv1d(4, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 24, 3, padding=1))
        self.cell, self.head = cell(24, STATE), nn.Linear(STATE, 9)

    def forward(self, x):
        state, outputs = None, []
        for step in self.convs(x).relu().unbind(2):
            state = self.cell(step, state)
            outputs.append(self.head(state[0] if isinstance(state, tuple) else state))
        return torch.stack(outputs, 1)


class Ending(Series):
    """The recurrent layer makes the output."""

    def forward(self, x):
        return self.rnn(self.convs(x).relu().transpose(1, 2))[0]


NETWORKS = {
    "LSTM": (Crnn, IMAGE),
    "GRU": (lambda: Crnn(nn.GRU), IMAGE),
    "RNN": (lambda: Crnn(nn.RNN), IMAGE),
    "two layers": (lambda: Crnn(num_layers=2), IMAGE),
    "projected": (Projected, SERIES),
    "flattened": (Cell, IMAGE),
    "last state": (Series, SERIES),
    "learned state": (LearnedState, SERIES),
    "made state": (Caption, IMAGE),
    "packed": (Packed, SERIES),
    "loop of LSTMCell": (lambda: Loop(nn.LSTMCell), SERIES),
    "loop of GRUCell": (lambda: Loop(nn.GRUCell), SERIES),
    "ending": (Ending, SERIES),
}


def made(name):
    torch.manual_seed(0)
    return NETWORKS[name][0]().eval()


def with_dead_channels(name):
    """The network, half of the channels of each layer before the recurrent one dead, every other one about."""
    module, generator = made(name), torch.Generator().manual_seed(1)
    for part, layer in module.named_modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear) and part not in ("head", "state"):
            dead = torch.randperm(len(layer.weight), generator=generator)[: len(layer.weight) // 2]
            with torch.no_grad():
                layer.weight[dead], layer.bias[dead] = 0, 0
    return module


def recurrent(module):
    (found,) = [(name, m) for name, m in module.named_modules() if isinstance(m, nn.RNNBase | nn.RNNCellBase)]
    return found


def channels(share, inputs, round_to=1):
    return Request(PruneStep("channels", share, round_to), inputs)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", NETWORKS)
def test_dead_channels_go_first_and_the_answer_stays(name):
    """So each matrix loses the columns of the channels that went, in every direction, and no state is cut."""
    module, inputs = with_dead_channels(name), NETWORKS[name][1]
    part, layer = recurrent(module)
    whole, before, expected = parameters(module), copy.deepcopy(layer), module(*inputs)
    found = prune(module, channels(0.2, inputs))
    assert 1 - parameters(module) / whole == pytest.approx(0.2, abs=0.02)
    assert found.notes == (f"channels cannot be removed from {part} ({type(layer).__name__})",)
    assert layer.input_size < before.input_size
    assert layer.hidden_size == before.hidden_size
    torch.testing.assert_close(module(*inputs), expected)
    again = replay(made(name), found.plan, inputs)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(*inputs), module(*inputs))


def test_channels_are_left_in_multiples_where_asked():
    module = made("LSTM")
    prune(module, channels(0.4, IMAGE, 8))
    assert module.rnn.input_size in (8, 16)
    assert all(len(module.convs[place].weight) % 8 == 0 for place in (0, 3, 7))


class Embedded(nn.Module):
    """Nothing before the recurrent layer can lose channels, and little after it."""

    def __init__(self):
        super().__init__()
        self.table, self.rnn = nn.Embedding(30, 16), nn.LSTM(16, 24, batch_first=True)
        self.hidden, self.head = nn.Linear(24, 32), nn.Linear(32, 5)

    def forward(self, ids):
        return self.head(self.hidden(self.rnn(self.table(ids))[0][:, -1]).relu())


@pytest.mark.parametrize(
    ("make", "inputs", "share"), [(Embedded, (torch.tensor([[3, 1, 4]]),), 0.5), (Crnn, IMAGE, 0.9)]
)
def test_a_share_that_only_the_states_could_give_is_refused_by_the_layers_name(make, inputs, share):
    with pytest.raises(UnsupportedError, match=r"^channels cannot be removed from rnn \(LSTM\); what is left is too"):
        prune(make().eval(), channels(share, inputs))


def test_what_does_not_depend_on_the_states_is_removed():
    module = Embedded().eval()
    found = prune(module, channels(0.1, (torch.tensor([[3, 1, 4]]),)))
    assert (module.hidden.out_features, module.head.in_features) < (32, 32)
    assert found.notes == ("channels cannot be removed from rnn (LSTM)",)


class Residual(Series):
    """Added to what the recurrent layer made of it."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(24, 24, batch_first=True), nn.Linear(24, 9)

    def forward(self, x):
        x = self.convs(x).relu().transpose(1, 2)
        return self.head(x + self.rnn(x)[0])


def test_a_layer_that_is_added_to_states_keeps_its_channels():
    module = Residual().eval()
    prune(module, channels(0.05, SERIES))
    assert len(module.convs[0].weight) < 16
    assert len(module.convs[2].weight) == module.rnn.input_size == 24


def test_where_the_rest_fails_as_well_the_layers_are_named_before_the_error(monkeypatch):
    """Seen with LSTMs before they were nodes: each layer alone lost a channel, all of them together did not."""

    def cut(module, ratio, job):
        raise UnsupportedError("torch-pruning: IndexError: index out of range in self")

    monkeypatch.setattr("sparsemark.pruning.channels._cut", cut)
    with pytest.raises(UnsupportedError, match=r"^channels cannot be removed from convs\.2, rnn \(GRU\), nor .*IndexE"):
        prune(Folded().eval(), channels(0.2, IMAGE))


class Folded(Series):
    """Torch-pruning does not follow the height that is folded into the features."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1))
        self.rnn = nn.GRU(8 * 16, 6, batch_first=True)
        self.head = nn.Linear(6, 9)

    def forward(self, x):
        return self.head(self.rnn(self.convs(x).relu().permute(0, 3, 1, 2).flatten(2))[0])


def test_a_layer_whose_channels_are_folded_away_is_named_beside_the_recurrent_one():
    module = Folded().eval()
    found = prune(module, channels(0.2, IMAGE))
    assert (len(module.convs[0].weight) < 16, len(module.convs[2].weight)) == (True, 8)
    assert found.notes == ("channels cannot be removed from convs.2, rnn (GRU)",)


class Own(nn.Module):
    """A cell of the user's own, called twice: torch-pruning follows its gates from step to step, without end."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 48, 3, padding=1)
        self.second = nn.Sequential(nn.Conv2d(48, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.a, self.b = nn.Parameter(torch.randn(4 * STATE, 32) * 0.1), nn.Parameter(torch.randn(4 * STATE, STATE))
        self.head, self.idle = nn.Linear(STATE, 4), nn.Linear(3, 3)

    def forward(self, x):
        x = self.second(self.first(x).relu())
        state = (x.new_zeros(len(x), STATE),) * 2
        for _ in range(2):
            state = torch.lstm_cell(x, state, self.a, self.b)
        return self.head(state[0])


def test_a_cell_of_the_users_own_comes_to_an_end_and_what_it_ties_together_is_left_alone():
    module = Own().eval()
    found = prune(module, channels(0.2, IMAGE))
    assert (len(module.first.weight) < 48, len(module.second[0].weight)) == (True, 8)
    assert found.notes == ("channels cannot be removed from second.0",)


def test_a_recurrent_layer_that_does_not_run_is_not_named():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.rnn = nn.Linear(12, 16), nn.Linear(16, 2), nn.GRU(4, 4)

        def forward(self, x):
            return self.head(self.body(x).relu())

    assert prune(Idle().eval(), channels(0.5, (torch.randn(1, 12),))).notes == ()


def test_the_recurrent_layer_that_makes_the_output_frees_the_layers_before_it():
    assert output_layers(made("ending"), SERIES) == []
