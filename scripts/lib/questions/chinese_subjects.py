"""Which subject of CMMLU and of C-Eval belongs to which category.

Sources: the code of CMMLU (Li et al., "CMMLU", 2023, https://arxiv.org/abs/2306.09212),
whose `China specific` overlaps the others and is left out; for C-Eval (Huang et al., "C-Eval",
2023, https://arxiv.org/abs/2305.08322) LLaMA-Factory's evaluation/ceval/mapping.json.
"""

from collections.abc import Mapping

_CMMLU = {
    "STEM": (
        "anatomy astronomy college_actuarial_science college_engineering_hydrology"
        " college_mathematics college_medical_statistics computer_science conceptual_physics"
        " electrical_engineering elementary_mathematics genetics high_school_biology"
        " high_school_chemistry high_school_mathematics high_school_physics machine_learning"
        " virology"
    ),
    "Social Sciences": (
        "ancient_chinese business_ethics chinese_civil_service_exam chinese_food_culture"
        " chinese_foreign_policy chinese_teacher_qualification college_education economics"
        " education elementary_chinese ethnology high_school_geography high_school_politics"
        " journalism management marketing modern_chinese professional_accounting"
        " professional_psychology public_relations security_study sociology"
    ),
    "Humanities": (
        "arts chinese_history chinese_literature college_law global_facts international_law"
        " jurisprudence logical marxist_theory philosophy professional_law world_history"
        " world_religions"
    ),
    "Other": (
        "agronomy chinese_driving_rule clinical_knowledge college_medicine computer_security"
        " construction_project_management elementary_commonsense"
        " elementary_information_and_technology food_science human_sexuality legal_and_moral_basis"
        " nutrition professional_medicine sports_science traditional_chinese_medicine"
    ),
}
_CEVAL = {
    "STEM": (
        "advanced_mathematics college_chemistry college_physics college_programming"
        " computer_architecture computer_network discrete_mathematics electrical_engineer"
        " high_school_biology high_school_chemistry high_school_mathematics high_school_physics"
        " metrology_engineer middle_school_biology middle_school_chemistry"
        " middle_school_mathematics middle_school_physics operating_system"
        " probability_and_statistics veterinary_medicine"
    ),
    "Social Sciences": (
        "business_administration college_economics education_science high_school_geography"
        " high_school_politics mao_zedong_thought marxism middle_school_geography"
        " middle_school_politics teacher_qualification"
    ),
    "Humanities": (
        "art_studies chinese_language_and_literature high_school_chinese high_school_history"
        " ideological_and_moral_cultivation law legal_professional logic middle_school_history"
        " modern_chinese_history professional_tour_guide"
    ),
    "Other": (
        "accountant basic_medicine civil_servant clinical_medicine"
        " environmental_impact_assessment_engineer fire_engineer physician plant_protection"
        " sports_science tax_accountant urban_and_rural_planner"
    ),
}


def _by_subject(categories: Mapping[str, str]) -> dict[str, str]:
    return {name: category for category, names in categories.items() for name in names.split()}


CMMLU: Mapping[str, str] = _by_subject(_CMMLU)
CEVAL: Mapping[str, str] = _by_subject(_CEVAL)
