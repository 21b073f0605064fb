"""Common given and family names of several languages and scripts, with towns to live in.

Names are facts; the lists are our own and short. `women` and `men` are given names. Slavic and Greek family names that
change with the bearer's gender are written in both forms, `masculine|feminine`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Culture:
    """Where a patient's names come from. `language` is a BCP 47 tag, `weight` how often it is drawn."""

    language: str
    weight: int
    women: tuple[str, ...]
    men: tuple[str, ...]
    families: tuple[str, ...]


def _culture(language: str, weight: int, women: str, men: str, families: str) -> Culture:
    return Culture(
        language, weight, tuple(women.split()), tuple(men.split()), tuple(families.split())
    )


CULTURES: tuple[Culture, ...] = (
    _culture(
        "en",
        30,
        "Mary Susan Karen Emily Hannah Grace Olivia Abigail Ruth Alice Joan Megan Chloe Nora",
        "James Robert John Thomas Daniel Matthew Henry Samuel Oliver George Peter Simon Paul Dean",
        "Smith Johnson Williams Brown Jones Miller Davis Wilson Taylor Moore Clark Walker Hall Young",
    ),
    _culture(
        "es",
        14,
        "María Sofía Lucía Inés Begoña Concepción Raquel Mónica Belén Ángela Nuria Íngrid",
        "José Andrés Jesús Ramón Joaquín Íñigo Héctor Raúl Martín Álvaro Óscar Sebastián",
        "García Fernández González Rodríguez López Martínez Sánchez Pérez Gómez Núñez Muñoz Ibáñez",
    ),
    _culture(
        "de",
        4,
        "Käthe Jördis Ursula Heike Sabine Monika Anneliese Grit Lena Mia",
        "Jürgen Jörg Günther Björn Götz Karl Lukas Felix Matthias Uwe",
        "Müller Schäfer Krüger Groß Jäger Weiß Köhler König Schröder Vogel Böhm",
    ),
    _culture(
        "fr",
        4,
        "Élodie Chloé Zoé Hélène Anaïs Maëlle Françoise Noémie Agnès Solène",
        "François Jérôme Gaël Rémi Loïc André Étienne Noël Benoît Gérard",
        "Lefèvre Béranger Lemaître Dubois Gauthier Chevalier Noël Hébert Ménard Rousseau",
    ),
    _culture(
        "pt",
        4,
        "Conceição Inês Antónia Beatriz Luísa Márcia Vitória Cecília",
        "João António Luís Inácio Sebastião Márcio Vinícius Otávio",
        "Conceição Gonçalves Araújo Magalhães Simões Guimarães Assunção Falcão",
    ),
    _culture(
        "sv",
        2,
        "Åsa Märta Linnéa Maj Sigrid Kerstin Elsa",
        "Åke Göran Björn Sören Nils Håkan Lars",
        "Ångström Öberg Sjögren Åkesson Lindström Bergström Sandström",
    ),
    _culture(
        "pl",
        3,
        "Małgorzata Agnieszka Łucja Żaneta Bożena Grażyna Zofia",
        "Łukasz Michał Paweł Stanisław Krzysztof Wojciech Zdzisław",
        "Kowalski|Kowalska Wiśniewski|Wiśniewska Wójcik Dąbrowski|Dąbrowska Zając Śliwa",
    ),
    _culture(
        "cs",
        2,
        "Růžena Božena Jiřina Věra Libuše Šárka",
        "Jiří Tomáš Zdeněk Ondřej Vojtěch Řehoř",
        "Novák|Nováková Dvořák|Dvořáková Černý|Černá Růžička|Růžičková Šťastný|Šťastná",
    ),
    _culture(
        "tr",
        2,
        "Ayşe Gülşen Çiğdem Şule Özlem Nurgül",
        "Çağrı İbrahim Şükrü Oğuz Ömer Doğan",
        "Yılmaz Şahin Çelik Öztürk Aydın Güneş Işık",
    ),
    _culture(
        "vi",
        4,
        "Thị-Hương Ngọc-Ánh Thu-Hà Bích Linh Diễm Phượng",
        "Văn-Hùng Đức Minh Quốc-Bảo Tuấn Khánh Đạt",
        "Nguyễn Trần Lê Phạm Huỳnh Võ Đặng Bùi Đỗ",
    ),
    _culture(
        "el",
        3,
        "Μαρία Ελένη Κατερίνα Βασιλική Σοφία Αγγελική",
        "Γιώργος Νίκος Δημήτρης Ιωάννης Κωνσταντίνος Θεόδωρος",
        "Παπαδόπουλος|Παπαδοπούλου Γεωργίου Νικολάου Ιωαννίδης|Ιωαννίδου Οικονόμου Αγγέλου",
    ),
    _culture(
        "ru",
        4,
        "Ольга Наталья Татьяна Анастасия Светлана Юлия Елена",
        "Сергей Алексей Дмитрий Андрей Юрий Михаил Пётр",
        "Иванов|Иванова Смирнов|Смирнова Кузнецов|Кузнецова Соловьёв|Соловьёва Щербаков|Щербакова",
    ),
    _culture(
        "uk",
        2,
        "Оксана Ганна Їванна Галина Соломія Марія",
        "Тарас Олексій Богдан Ярослав Андрій Євген",
        "Шевченко Коваленко Бондаренко Ткаченко Мельник Кравчук",
    ),
    _culture(
        "ar",
        5,
        "فاطمة مريم ليلى نور سلمى هدى زينب",
        "محمد أحمد علي يوسف خالد عمر إبراهيم",
        "حسن العلي إبراهيم الخطيب منصور حداد عثمان",
    ),
    _culture(
        "he",
        3,
        "רחל שרה מרים יעל נועה תמר",
        "דוד משה יוסף אברהם נועם איתן",
        "כהן לוי מזרחי פרץ ביטון פרידמן",
    ),
    _culture(
        "fa",
        2,
        "زهرا شیرین نسرین پریسا مینا آزاده",
        "رضا حسین بهرام کاوه پدرام امیر",
        "محمدی حسینی کریمی رضایی پارسا گلستانی",
    ),
    _culture(
        "zh",
        6,
        "秀英 芳 娜 丽 静 敏 雪梅 玉兰",
        "伟 强 磊 军 洋 勇 建国 志明",
        "王 李 张 刘 陈 杨 赵 黄 欧阳",
    ),
    _culture(
        "ja",
        3,
        "さくら 陽子 恵子 美咲 結衣 千代",
        "健一 太郎 翔 大輔 誠 拓也",
        "佐藤 鈴木 高橋 田中 渡辺 伊藤 山本",
    ),
    _culture(
        "ko",
        3,
        "서연 지민 민지 하은 영희 수진",
        "민수 지훈 현우 준호 철수 성민",
        "김 이 박 최 정 강 조",
    ),
    _culture(
        "hi",
        4,
        "प्रिया अंजलि सुनीता लक्ष्मी कविता नेहा",
        "राजेश अमित सुरेश विजय राहुल अनिल",
        "शर्मा वर्मा गुप्ता सिंह पटेल यादव मिश्रा",
    ),
    _culture(
        "bn",
        1,
        "সুমাইয়া ফারহানা মিতালী শ্রাবণী",
        "রহিম করিম সুব্রত তানভীর",
        "রহমান হোসেন চক্রবর্তী দাস",
    ),
    _culture(
        "th",
        1,
        "สมหญิง มาลี วันเพ็ญ กัญญา",
        "สมชาย วิชัย ประเสริฐ อนันต์",
        "ใจดี สุขสวัสดิ์ ทองดี แก้วมณี",
    ),
    _culture(
        "am",
        1,
        "ሰላማዊት ትዕግስት ሄለን ማርታ",
        "አበበ ተስፋዬ ዳዊት ሰለሞን",
        "ከበደ ተክሌ ገብረማርያም ሃይሌ",
    ),
    _culture(
        "ga",
        1,
        "Siobhán Niamh Aoife Gráinne",
        "Seán Pádraig Ciarán Tadhg",
        "O'Brien Ó-Súilleabháin MacCarthy|Nic-Carthy O'Neill",
    ),
)

TOWNS: tuple[tuple[str, str], ...] = (
    ("Fairbrook", "03401"),
    ("Eastmere", "03402"),
    ("Millhaven", "03405"),
    ("Stonebridge", "03411"),
    ("Northwell", "03417"),
    ("Cedar Falls", "03420"),
    ("Old Harbor", "03425"),
    ("Lindenau", "03431"),
    ("San Remigio", "03433"),
    ("Québec Corner", "03436"),
)
STREETS = (
    "Main Street",
    "Oak Lane",
    "Station Road",
    "Mill Row",
    "Church Walk",
    "Harbor View",
    "Elm Crescent",
    "Kings Avenue",
    "Río Grande Way",
)


def gendered(name: str, feminine: bool) -> str:
    """The form of a family name that its bearer uses."""
    masculine, _, other = name.partition("|")
    return other if feminine and other else masculine
