"""Tells from the names of folders which of them are parts of a split: Training, test_set, 1_val, seg_train, 验证集.

A name is a part of a split if nothing is left of it without numbers, words such as "set" or "images", and words that
its neighbors have too. So "seg_train" beside "seg_test" is one, and "test tube" and "validation stamp" are classes.
"""

import re
import unicodedata
from collections.abc import Iterable

TRAIN = """
    train training trainings trainval trn learn learning lern xtrain
    entrenamiento entrenar entreno treino treinamento treinar apprentissage entrainement entraine addestramento
    allenamento egitim ogrenme trening treningowe treningowy szkolenie uczenie uczacy trenovani trenovaci treniranje
    traening traning opplaering oefening koulutus antrenare antrenament tanito tanulo latihan pelatihan huanluyen
    обучение обучающая обучающий тренировка тренировочная тренировочный трейн навчання навчальна тренування
    εκπαιδευση 训练 訓練 学习 學習 学習 トレーニング 훈련 학습 훈련용 학습용 تدريب التدريب אימון प्रशिक्षण ฝึก ฝึกอบรม
"""
VAL = """
    val valid vali validate validation validating dev devel development eval evaluate evaluation xval xvalid
    validierung validierungs validacion evaluacion validacao avaliacao validazione valutazione dogrulama gecerleme
    walidacja walidacyjne walidacyjny validace validacni validacija validare validatie validering validointi validalas
    validasi xacthuc thamdinh kiemdinh валидация валидационная валидационный проверка проверочная проверочный перевірка
    оцінка оценка επικυρωση 验证 驗證 検証 评估 評估 評価 バリデーション 검증 평가 تحقق التحقق אימות सत्यापन ตรวจสอบ
"""
TEST = """
    test testing tests tst holdout heldout xtest
    prueba pruebas teste testes prova prove deneme sinav testowe testowy testowanie testy testovaci testovani
    testiranje testare testaus testi teszt uji pengujian kiemtra тест тесты тестирование тестовая тестовый тестування
    тестова δοκιμη τεστ 测试 測試 試験 测验 テスト 테스트 시험 테스트용 اختبار الاختبار מבחן בדיקה परीक्षण ทดสอบ
"""
UNLABELED = "pred predict prediction predictions unlabeled unlabelled unlabel nolabel nolabels submission"
FOLD = "fold folds kfold cvfold 折 第折 фолд"
# Words for things and deeds as well: alone among class folders they are classes.
WEAK = """
    train learn learning dev development evaluate evaluation eval testes prova prove prueba pruebas deneme sinav uji
    predict prediction predictions submission trening 学习 學習 学習 评估 評估 評価
"""
# Words that may stand beside one of those above and change nothing.
FILLERS = """
    set sets data dataset datasets datas datum image images img imgs picture pictures pics photo photos jpg jpeg png x
    folder folders dir directory split splits part parts subset sample samples small new final full all raw processed
    resized cleaned clean labeled labelled labels out the of and de del da do di des du la le les el em en
    pour para per von zu fur datos conjunto imagenes dados imagens donnees jeu ensemble dati immagini insieme daten
    datensatz bilder fotos veri seti kumesi dane zbior zdjecia data tap du lieu gegevens beelden
    данные набор выборка изображения дані δεδομενα 集 集合 数据 数据集 數據 資料 资料 資料集 图片 图像 圖片 圖像 样本
    データ データセット セット 用 画像 데이터 세트 셋 용 이미지 데이터셋 مجموعة بيانات مجموعه צילום נתונים
    आंकड़े डेटा ข้อมูล ชุด
"""
# Folders whose images belong to the folder above, whatever they are called.
VIEWS = """
    front side back rear top bottom left right up down face profile angle view views cam camera close closeup far near
    day night dawn dusk morning noon evening summer winter spring autumn fall indoor indoors outdoor outdoors inside
    outside rgb depth color colour gray grey original originals crop crops cropped augmented aug session seq sequence
    video frames scene burst batch group year week month vorne hinten seite frente lado atras avant arriere cote
    正面 侧面 側面 背面 顶部 白天 夜晚 室内 室外 左 右 前 后 上 下
"""
ANNOTATIONS = """
    annotation annotations annot annots label labels meta metadata mask masks segmentation segmentations
    segmentationclass segmentationobject trimap trimaps gt groundtruth truth ground imagesets bbox bboxes
    标注 标签 アノテーション
"""
PAPERS = """
    attribute attributes parts boxes bounding object class info readme json xml xmls docs doc lists list splits devkit
    code notebooks scripts
"""


def plain(text: str) -> str:
    """The text without case, accents and forms of the same letter."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return unicodedata.normalize("NFC", kept).translate(str.maketrans("ıđłø", "idlo"))  # letters that do not decompose


def _table(words: str) -> frozenset[str]:
    return frozenset(map(plain, words.split()))


KINDS = {
    word: kind
    for kind, words in (("train", TRAIN), ("val", VAL), ("test", TEST), ("unlabeled", UNLABELED), ("fold", FOLD))
    for word in _table(words)
}
FILLER_WORDS, VIEW_WORDS, ANNOTATION_WORDS = _table(FILLERS), _table(VIEWS), _table(ANNOTATIONS)
PAPER_WORDS, WEAK_WORDS = _table(PAPERS), _table(WEAK)
GLUED = sorted((word for word in FILLER_WORDS if len(word) >= 3 or not word.isascii()), key=len, reverse=True)


def words_of(name: str) -> list[str]:
    """The words of a name: parted at signs, digits, and where a capital follows a small letter; without numbers."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return [word for word in re.split(r"[\W\d_]+", plain(parted)) if word]


def kind_of(name: str, shared: frozenset[str] = frozenset()) -> str | None:
    """train, val, test, unlabeled or fold, if the name of a folder says so and nothing else; otherwise None.

    Args:
        shared: words that all folders beside it have, which say nothing.
    """
    words = [word for word in words_of(name) if word not in shared]
    joined = "".join(words)
    if joined in KINDS:  # "hold-out"
        return KINDS[joined] if KINDS[joined] != "fold" or re.search(r"\d", name) else None
    kinds = {kind for word in words if (kind := _kind_of_word(word)) is not None}
    rest = [word for word in words if _kind_of_word(word) is None and word not in FILLER_WORDS]
    if kinds == {"train", "val"} and "trainval" in joined:
        kinds = {"train"}
    if rest or len(kinds) != 1:
        return None
    (kind,) = kinds
    return kind if kind != "fold" or re.search(r"\d|[一二三四五六七八九十]", name) else None


def _kind_of_word(word: str) -> str | None:
    """The kind of one word, also where another is glued to it: trainset, Validierungsdaten, 训练数据集."""
    if word in KINDS:
        return KINDS[word]
    for filler in GLUED:
        for rest in (word.removesuffix(filler), word.removeprefix(filler)):
            if rest != word and rest:
                found = KINDS.get(rest) or KINDS.get(rest.removesuffix("s")) or _kind_of_word(rest)
                if found:
                    return found
    return None


def split_kinds(names: Iterable[str]) -> dict[str, str]:
    """For folders that lie side by side, the kind of each that is a part of a split.

    A word that all of them have says nothing, if without it all of them are parts: cats_train beside cats_test. Not so
    "validation stamp" beside "date stamp".
    """
    listed = list(names)
    kinds = {name: kind for name in listed if (kind := kind_of(name)) is not None}
    others = [name for name in listed if not is_annotation(name)]
    if len(kinds) < len(others) and len(others) > 1:
        shared = frozenset.intersection(*(frozenset(words_of(name)) for name in others))
        shared = frozenset(word for word in shared if _kind_of_word(word) is None)
        without = {name: kind for name in others if (kind := kind_of(name, shared)) is not None}
        if len(without) == len(others) and "train" in without.values():
            return without
    return kinds


def is_weak(name: str) -> bool:
    """Whether a name is a part of a split only beside other parts: classes are called so too (train, car, bus)."""
    words = words_of(name)
    return bool(words) and all(word in WEAK_WORDS for word in words)


def is_filler(name: str) -> bool:
    """Whether the name of a folder says nothing of what is in it: images, data, JPEGImages."""
    words = words_of(name)
    return bool(words) and all(
        word in FILLER_WORDS or any(word == a + b for a in ("jpeg", "jpg", "png") for b in ("images", "image"))
        for word in words
    )


def is_view(name: str) -> bool:
    """Whether a folder is called as parts of a class are: front, night, images, a year."""
    words = words_of(name)
    if not words:
        return bool(re.fullmatch(r"(19|20)\d\d([-_.]?\d\d)*", name))
    return all(word in VIEW_WORDS or word in FILLER_WORDS for word in words)


def is_annotation(name: str, *, without_images: bool = False) -> bool:
    """Whether a folder is called as those are that lie beside images: annotations, meta, masks.

    Args:
        without_images: whether there is no image in it, so that it may be called docs or lists as well.
    """
    words = words_of(name)
    telling = ANNOTATION_WORDS | PAPER_WORDS if without_images else ANNOTATION_WORDS
    known = ANNOTATION_WORDS | PAPER_WORDS | FILLER_WORDS
    return any(word in telling for word in words) and all(word in known for word in words)
