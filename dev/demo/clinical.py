"""What happens at the clinics of the demo world: reasons, diagnoses, measurements, prices.

Diagnoses are ICD-10-CM codes (public domain) with short titles of our own, measurements LOINC codes with UCUM units.
Prices carry INTERNAL codes: CPT descriptors need a licence and are never shipped.
"""

from dataclasses import dataclass

ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"


@dataclass(frozen=True)
class Complaint:
    """Why somebody comes, and the diagnosis that it may end in."""

    reason: str
    code: str
    display: str


@dataclass(frozen=True)
class Vital:
    """A measurement: LOINC code, UCUM unit, the range it is drawn from, digits after the point.

    The ranges fit people from this age on, in years.
    """

    code: str
    display: str
    unit: str
    low: float
    high: float
    digits: int
    from_years: int = 0


@dataclass(frozen=True)
class Price:
    """An entry of the charge master, in minor units of the tenant's currency."""

    code: str
    description: str
    minor: int


COMPLAINTS = (
    Complaint("High blood pressure follow-up", "I10", "Essential hypertension"),
    Complaint("Diabetes check", "E11.9", "Type 2 diabetes without complications"),
    Complaint("Cough and sore throat", "J06.9", "Acute upper respiratory infection"),
    Complaint("Low back pain", "M54.50", "Low back pain"),
    Complaint("Yearly check-up", "Z00.00", "General adult examination"),
    Complaint("Headache", "R51.9", "Headache"),
    Complaint("Wheezing", "J45.909", "Asthma, uncomplicated"),
    Complaint("Rash on both arms", "L20.9", "Atopic dermatitis"),
    Complaint("Tiredness", "D50.9", "Iron deficiency anemia"),
    Complaint("Sprained ankle", "S93.401A", "Sprain of the right ankle"),
    Complaint("Anxiety", "F41.9", "Anxiety disorder"),
    Complaint("Heartburn", "K21.9", "Reflux disease without esophagitis"),
    Complaint("Cholesterol check", "E78.5", "Hyperlipidemia"),
    Complaint("Burning on passing water", "N39.0", "Urinary tract infection"),
)

VITALS = (
    Vital("8480-6", "Systolic blood pressure", "mm[Hg]", 98, 168, 0),
    Vital("8462-4", "Diastolic blood pressure", "mm[Hg]", 58, 104, 0),
    Vital("8867-4", "Heart rate", "/min", 52, 118, 0),
    Vital("8310-5", "Body temperature", "Cel", 36.1, 39.2, 1),
    Vital("29463-7", "Body weight", "kg", 46, 118, 1, from_years=20),
    Vital("8302-2", "Body height", "cm", 148, 197, 0, from_years=20),
    Vital("59408-5", "Oxygen saturation", "%", 91, 100, 0),
    Vital("2339-0", "Blood glucose", "mg/dL", 71, 214, 0),
)

PRICES = (
    Price("V-SHORT", "Visit, up to 15 minutes", 6_500),
    Price("V-USUAL", "Visit, up to 30 minutes", 11_800),
    Price("V-LONG", "Visit, more than 30 minutes", 17_950),
    Price("V-VIDEO", "Video visit", 5_900),
    Price("V-FIRST", "First visit of a new patient", 14_225),
    Price("V-HOME", "Home visit", 22_000),
    Price("L-BLOOD", "Blood count", 2_350),
    Price("L-LIPID", "Lipid panel", 3_125),
    Price("L-GLUC", "Blood glucose", 1_175),
    Price("L-URINE", "Urine test", 1_450),
    Price("P-ECG", "Electrocardiogram at rest", 7_899),
    Price("P-DRESS", "Wound dressing", 3_333),
    Price("P-VACC", "Vaccination, without the vaccine", 2_075),
    Price("P-SUTURE", "Suture of a small wound", 12_640),
    Price("I-XRAY", "X-ray, two views", 9_510),
)

ROOMS = ("Room 1", "Room 2", "Treatment Room")
DEVICE = "Ultrasound"

NURSING_NOTES = (
    "S: Feels better than last week.\nO: Vital signs taken, see measurements.\nA: Stable.\nP: Provider informed.",
    "S: Reports some dizziness in the morning.\nO: Alert and oriented.\nA: Fall risk slightly raised.\nP: Advised to rise slowly.",
    "S: No complaints.\nO: Dressing dry and clean.\nA: Healing well.\nP: Next change in three days.",
)
PROGRESS_NOTES = (
    "S: Symptoms for about five days, improving.\nO: Examination without alarming findings.\nA: Self-limiting course.\nP: Rest, fluids, return if worse.",
    "S: Takes the medication regularly.\nO: Measurements within the agreed range.\nA: Well controlled.\nP: Continue, check again in three months.",
    "S: Pain on movement, none at rest.\nO: Local tenderness, full range of motion.\nA: Muscular cause likely.\nP: Exercises shown, follow-up as needed.",
)

EXTRA_PRACTITIONERS = (
    ("Alma", "Hughes", "Family Medicine"),
    ("Rashid", "Karimov", "Internal Medicine"),
    ("Beatriz", "Falcão", "Pediatrics"),
    ("Owen", "Gallagher", "Orthopedics"),
    ("Sunita", "Mishra", "Dermatology"),
    ("Étienne", "Rousseau", "Cardiology"),
    ("Hana", "Kim", "Neurology"),
    ("Miriam", "Perez", "Obstetrics"),
)
