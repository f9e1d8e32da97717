import torch

from uan_da.data.augment.per_group import apply_per_group


def test_each_image_gets_the_operation_of_its_group_and_its_own_place():
    images = torch.arange(6.0).view(6, 1, 1, 1)
    group = torch.tensor([2, 0, 2, 3, 0, 2])
    result = apply_per_group(
        images,
        group,
        [
            lambda part, place: part + 100,
            lambda part, place: torch.full_like(part, torch.nan),
            lambda part, place: part + 1000 * place.view(-1, 1, 1, 1),
            lambda part, place: part,
        ],
    )
    assert result.flatten().tolist() == [0, 101, 2002, 3, 104, 5005]


def test_an_operation_is_called_once_and_only_with_images():
    sizes = []

    def count(part, place):
        sizes.append(len(part))
        return part

    apply_per_group(torch.rand(5, 1, 2, 2), torch.tensor([0, 2, 0, 2, 2]), [count] * 4)
    assert sizes == [2, 3]
