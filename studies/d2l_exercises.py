"""The exercises of the chapters LeNet and AlexNet of Dive into Deep Learning, in our words, and what answers them.

An answer names the values of worked solutions as `{EXERCISE_value}`; `studies.d2l` measures them.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One exercise of the book: its number in both editions, and the exercises of our lessons that answer it."""

    book: str  # in the book 1.0: chapter and number; "" if it is not there
    chinese: str  # in the Chinese second edition
    exercises: tuple[str, ...]  # lesson.exercise
    asked: dict[str, str]
    answer: dict[str, str]

    def values(self, exercise: str) -> set[str]:
        """The values of a worked solution that the answer names."""
        name = exercise.partition(".")[2]
        return set(re.findall(rf"{{{name}_(\w+)", self.answer["en"] + self.answer["zh"]))


def row(book: str, chinese: str, exercises: str, asked: tuple[str, str], answer: tuple[str, str]) -> Row:
    """A row from texts in English and Chinese."""
    languages = ("en", "zh")
    texts = (dict(zip(languages, each, strict=True)) for each in (asked, answer))
    return Row(book, chinese, tuple(exercises.split()), *texts)


ROWS = (
    row(
        "7.6: 1",
        "6.6: 1",
        "2.modern",
        ("LeNet with max pooling and ReLU", "LeNet 换成最大汇聚和 ReLU"),
        (
            "after {modern_modern_epochs:.0f} epochs errors of {modern_modern_error:.1%} instead of "
            "{modern_old_error:.1%}: the sigmoids have not begun to learn",
            "{modern_modern_epochs:.0f} 个轮次之后错误率是 {modern_modern_error:.1%}，原来是 {modern_old_error:.1%}："
            "sigmoid 还没有开始学",
        ),
    ),
    row(
        "7.6: 2",
        "6.6: 2",
        "8.larger 2.depth",
        (
            "LeNet larger: windows, channels, layers, learning rate",
            "更复杂的 LeNet：卷积窗口、通道数、层数、激活函数、学习率",
        ),
        (
            "errors: {larger_plain_error:.1%}; twice the channels {larger_wide_error:.1%}, one fully connected "
            "layer more "
            "{larger_deep_error:.1%}, one less {larger_shallow_error:.1%}, three times the learning rate "
            "{larger_fast_error:.1%}",
            "错误率：{larger_plain_error:.1%}；通道加倍 {larger_wide_error:.1%}，多一个全连接层 "
            "{larger_deep_error:.1%}，"
            "少一个 {larger_shallow_error:.1%}，学习率三倍 {larger_fast_error:.1%}",
        ),
    ),
    row(
        "7.6: 3",
        "6.6: 3",
        "2.modern 8.larger",
        ("the same on MNIST", "在 MNIST 上再试"),
        (
            "the lessons use handwritten digits throughout, smaller ones than MNIST's: {larger_wide_error:.1%} "
            "errors "
            "after 256 of them",
            "各课用的就是手写数字，比 MNIST 的更小：用 256 个训练，错误率 {larger_wide_error:.1%}",
        ),
    ),
    row(
        "7.6: 4, 5",
        "6.6: 4",
        "8.activity",
        (
            "activations of the first two layers, for different inputs, for noise",
            "第一层和第二层的激活值：不同的输入（以及噪声）",
        ),
        (
            "mean outputs {activity_known_first:.2f} and {activity_known_second:.2f} for digits, "
            "{activity_chance_first:.2f} and {activity_chance_second:.2f} for noise, of which it is sure by "
            "{activity_chance_sure:.0%} all the same",
            "平均输出：数字 {activity_known_first:.2f} 和 {activity_known_second:.2f}，噪声 "
            "{activity_chance_first:.2f} 和 "
            "{activity_chance_second:.2f}，而对噪声仍有 {activity_chance_sure:.0%} 的把握",
        ),
    ),
    row(
        "8.1: 1",
        "7.1: 4",
        "1.largest 1.gigabyte 1.intensity",
        (
            "which part needs most memory, which most computation; how bandwidth matters, in training and inference",
            "哪部分占用显存最多，哪部分计算最多；显存带宽的影响",
        ),
        (
            "fc6 has {largest_parameters_share:.0%} of the parameters, conv2 {largest_products_share:.0%} of the "
            "multiply-adds; a byte of fc6 is used for {intensity_fc6_use:.2f} of them with one image (it waits for "
            "memory), for {intensity_fc6_batch_use:.0f} with a batch of 128",
            "fc6 占参数的 {largest_parameters_share:.0%}，conv2 占乘加运算的 {largest_products_share:.0%}；单张图"
            "像时 fc6 "
            "的每个字节只用于 {intensity_fc6_use:.2f} 次乘加（在等内存），批量 128 时用于 "
            "{intensity_fc6_batch_use:.0f} 次",
        ),
    ),
    row(
        "8.1: 2",
        "",
        "7.chip",
        ("share the area of a chip between arithmetic and bandwidth", "芯片面积在算术与带宽之间怎样分配"),
        (
            "{chip_one_share:.0%} for arithmetic if it answers image by image, {chip_many_share:.0%} for batches "
            "of 128",
            "逐张图像回答时算术占 {chip_one_share:.0%}，批量 128 时占 {chip_many_share:.0%}",
        ),
    ),
    row(
        "8.1: 3",
        "",
        "1.largest 8.direct",
        ("why nobody reports speed on AlexNet any more", "为什么不再用 AlexNet 测速度"),
        (
            "{largest_parameters_share:.0%} of its parameters are one fully connected layer, of a kind that "
            "later networks "
            "do not have: it measures memory more than arithmetic",
            "单独一个全连接层就占参数的 {largest_parameters_share:.0%}，后来的网络没有这样的层：量到的多半是内存"
            "，而不是"
            "算术",
        ),
    ),
    row(
        "8.1: 4",
        "7.1: 1",
        "8.longer",
        ("more epochs; compared with LeNet", "增加轮数，与 LeNet 对比"),
        (
            "after 2, 6, 18 epochs LeNet errs on {longer_lenet_few:.1%}, {longer_lenet_some:.1%}, "
            "{longer_lenet_many:.1%}, AlexNet on {longer_alexnet_few:.1%}, {longer_alexnet_some:.1%}, "
            "{longer_alexnet_many:.1%}",
            "2、6、18 个轮次之后，LeNet 错 {longer_lenet_few:.1%}、{longer_lenet_some:.1%}、{longer_lenet_many:.1%}，"
            "AlexNet 错 {longer_alexnet_few:.1%}、{longer_alexnet_some:.1%}、{longer_alexnet_many:.1%}",
        ),
    ),
    row(
        "8.1: 5",
        "7.1: 2",
        "5.simpler 8.direct",
        (
            "a simpler AlexNet; one that works on 28 x 28 directly",
            "简化模型；设计直接在 28 x 28 图像上工作的模型",
        ),
        (
            "without normalization a batch takes {simpler_simpler_ms:.0f} ms instead of {simpler_whole_ms:.0f}; "
            "on 28 "
            "pixels the book's network does {direct_times_less:.0f} times the multiply-adds",
            "去掉归一化，一个批量 {simpler_simpler_ms:.0f} 毫秒，原来 {simpler_whole_ms:.0f}；书里的网络的乘加运"
            "算是直接用 "
            "28 像素的 {direct_times_less:.0f} 倍",
        ),
    ),
    row(
        "8.1: 6",
        "7.1: 3",
        "7.batch 7.throughput",
        ("another batch size: speed, accuracy, memory", "修改批量大小：速度、精度、显存"),
        (
            "{throughput_small_speed:,.0f}, {throughput_middle_speed:,.0f}, {throughput_large_speed:,.0f} images "
            "a second "
            "with batches of 8, 32, 128, accuracies of {throughput_small_right:.0%}, {throughput_middle_right:.0%}, "
            "{throughput_large_right:.0%} after two epochs; 3 GB hold a batch of {batch_largest_batch:.0f}",
            "批量 8、32、128：每秒 {throughput_small_speed:,.0f}、{throughput_middle_speed:,.0f}、"
            "{throughput_large_speed:,.0f} 张，两个轮次后准确率 {throughput_small_right:.0%}、"
            "{throughput_middle_right:.0%}、{throughput_large_right:.0%}；3 GB 装得下批量 {batch_largest_batch:.0f}",
        ),
    ),
    row(
        "8.1: 7",
        "7.1: 5",
        "6.lenet 3.invariance",
        ("dropout and ReLU in LeNet; preprocessing", "LeNet 用上暂退法和 ReLU；再试预处理"),
        (
            "errors of {lenet_lenet_error:.1%} with both, {lenet_plain_error:.1%} with ReLU alone; digits at a "
            "corner: "
            "{invariance_moved_corner:.1%} with shifted training digits, {invariance_still_corner:.1%} without",
            "两者都用错 {lenet_lenet_error:.1%}，只用 ReLU 错 {lenet_plain_error:.1%}；在角上的数字：用平移过的数"
            "字训练错 "
            "{invariance_moved_corner:.1%}，否则错 {invariance_still_corner:.1%}",
        ),
    ),
    row(
        "8.1: 8",
        "",
        "6.overfit",
        ("make AlexNet overfit", "让 AlexNet 过拟合"),
        (
            "without dropout, on 256 images, the validation loss is {overfit_times_larger:.0f} times the training loss",
            "去掉暂退法，只用 256 张图像：验证损失是训练损失的 {overfit_times_larger:.0f} 倍",
        ),
    ),
)
