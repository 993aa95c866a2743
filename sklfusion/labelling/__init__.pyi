from sklfusion.labelling._desk import LabelDesk as LabelDesk
