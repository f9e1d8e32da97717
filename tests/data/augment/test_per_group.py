import pytest
import torch

from uan_da.data.augment.per_group import apply_per_group_


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_each_image_gets_the_operation_of_its_group_and_its_own_place(memory_format):
    images = torch.arange(6.0).view(6, 1, 1, 1).repeat(1, 2, 3, 1).contiguous(memory_format=memory_format)
    group = torch.tensor([2, 0, 2, 3, 0, 2])
    result = apply_per_group_(
        images,
        group,
        [
            lambda part, place: part + 100,
            lambda part, place: torch.full_like(part, torch.nan),
            lambda part, place: part + 1000 * place.view(-1, 1, 1, 1),
            lambda part, place: part,
        ],
    )
    assert result is images
    expected = torch.tensor([0.0, 101, 2002, 3, 104, 5005]).view(6, 1, 1, 1)
    assert torch.equal(result, expected.expand(6, 2, 3, 1))


def test_an_operation_is_called_once_and_only_with_images():
    sizes = []

    def count(part, place):
        sizes.append(len(part))
        return part

    apply_per_group_(torch.rand(5, 1, 2, 2), torch.tensor([0, 2, 0, 2, 2]), [count] * 4)
    assert sizes == [2, 3]
